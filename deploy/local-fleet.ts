import { join } from 'node:path'
import { ensureCredentials, ensureSecretsKey } from './credentials.ts'
import { ensurePackages } from './ensure-packages.ts'
import { agentProcess, controlPlaneProcess, type FleetEnvironment, type LocalAgent } from './fleet-processes.ts'
import { waitUntilReady } from './fleet-ready.ts'
import { tailOfLog } from './log-file.ts'
import { type AgentUser, answersAsNats, ensureNatsUser, type NatsUser, preparePrivateNats } from './nats.ts'
import { openPool } from './pool.ts'
import { isPortFree } from './ports.ts'
import { preparePrivatePostgres, refusalOf } from './postgres.ts'
import type { ProcessRecord } from './process-record.ts'
import { postgresUser } from './server-user.ts'
import type { LocalSettings } from './settings.ts'
import { StartError } from './start-error.ts'
import type { StateDirectory } from './state-directory.ts'
import { type ProcessSpec, SupervisedProcess, type SupervisorDeps } from './supervised-process.ts'
import { findTool } from './tools.ts'

const READY_TIMEOUT_MS = 60_000
/** A child that fails this often in a row before the fleet was ever ready will not get there. */
const HOPELESS_FAILURES = 5
const HOPE_POLL_MS = 100
const NATS_PORT = 4222

export interface LocalFleetDeps {
  readonly settings: LocalSettings
  readonly state: StateDirectory
  /** The checkout that holds the processes' sources. */
  readonly root: string
  readonly record: ProcessRecord
  /** Makes pools of the `sim` driver. */
  readonly sim: boolean
  readonly say: (line: string) => void
  readonly signal: AbortSignal
  /** What to stop, last begun first. All that begins is put here at once, so a failure half-way leaves nothing behind. */
  readonly stack: AsyncDisposableStack
}

/** A server that is ours or that somebody else runs, and how to know that it answers. */
interface Server {
  readonly url: string
  ready(): Promise<void>
}

interface LocalUser extends AgentUser {
  readonly poolName: string
  readonly folder: string
}

/**
 * Everything on one machine: Postgres and nats-server (unless existing ones are named), pools, the control plane and its
 * agents. Returns when the fleet answers.
 * @throws StartError when something the operator can mend stands in the way.
 */
export async function startLocalFleet(deps: LocalFleetDeps): Promise<void> {
  const { settings, state, signal, say } = deps
  await clearTheGround(deps)
  const supervisor = createSupervisor(deps)
  const controlPlane = ensureNatsUser(state.keys, 'control-plane')
  const users = localUsers(deps)
  const agents = await openAgents(deps, users)

  const database = settings.DATABASE_URL
    ? existingDatabase(settings.DATABASE_URL)
    : await startPostgres(deps, supervisor)
  signal.throwIfAborted()
  const nats = settings.NATS_URL
    ? existingNats(settings.NATS_URL)
    : await startNats(deps, supervisor, controlPlane, users)
  await Promise.all([database.ready(), nats.ready()])
  signal.throwIfAborted()

  const fleet: FleetEnvironment = {
    settings,
    root: deps.root,
    logs: state.logs,
    databaseUrl: database.url,
    natsUrl: nats.url,
    credentialsFile: state.credentials,
    secretsKeyFile: settings.HOLDFAST_SECRETS_KEY_FILE ?? state.secretsKey,
  }
  if (!settings.HOLDFAST_SECRETS_KEY_FILE) ensureSecretsKey(state.secretsKey)
  const url = `http://127.0.0.1:${settings.HOLDFAST_PORT}`
  const credentials = ensureCredentials(state.credentials, url)
  const processes = superviseAll(deps, supervisor, [
    controlPlaneProcess(fleet, seedFor(settings, controlPlane)),
    ...agents.map((agent) => agentProcess(fleet, agent)),
  ])
  const missing = await waitUntilReady({
    credentials,
    agents: agents.map(({ name }) => name),
    timeoutMs: READY_TIMEOUT_MS,
    shouldGiveUp: () => processes.some(isHopeless),
    signal,
  })
  if (missing.length > 0) throw new StartError(whyNotReady(missing, processes))
  for (const { name, pool } of agents) say(describePool(name, pool.driver, pool.note))
  say(`ready ${url}`)
}

/** Ends survivors, and finds what would stop a start before anything has begun. */
async function clearTheGround({ settings, record, say, signal }: LocalFleetDeps): Promise<void> {
  const survivors = await record.endSurvivors()
  if (survivors.length > 0) say(`ended what an earlier run had left: ${survivors.join(', ')}`)
  if (!(await isPortFree(settings.HOLDFAST_PORT))) {
    throw new StartError(`port ${settings.HOLDFAST_PORT} is in use: set HOLDFAST_PORT to another one`)
  }
  const except = [...(settings.DATABASE_URL ? ['postgresql'] : []), ...(settings.NATS_URL ? ['nats-server'] : [])]
  await ensurePackages('start', { except, say })
  signal.throwIfAborted()
}

function createSupervisor({ record, say }: LocalFleetDeps): SupervisorDeps {
  return {
    deathSignalTool: findTool('setpriv'),
    onSpawn: (name, pid) => record.add(name, pid),
    onExit(name, { reason, restartInMs }) {
      record.remove(name)
      if (restartInMs !== undefined) say(`${name} ended (${reason}); starting it again in ${restartInMs / 1000} s`)
    },
  }
}

function localUsers({ settings, state }: LocalFleetDeps): readonly LocalUser[] {
  return Array.from({ length: settings.HOLDFAST_AGENTS }, (_, index) => {
    const host = `agent-${index + 1}`
    const user = ensureNatsUser(state.keys, host)
    return { ...user, host, poolName: `pool-${index + 1}`, folder: state.agent(host) }
  })
}

/** One after the other: a loop device each. */
async function openAgents(deps: LocalFleetDeps, users: readonly LocalUser[]): Promise<readonly LocalAgent[]> {
  const agents: LocalAgent[] = []
  for (const user of users) {
    const pool = await openPool(user.folder, { sim: deps.sim })
    deps.stack.defer(() => pool.close())
    deps.signal.throwIfAborted()
    const { host: name, poolName, folder } = user
    agents.push({ name, poolName, folder, pool, seedFile: seedFor(deps.settings, user) })
  }
  return agents
}

/** Somebody else's server knows nothing of our seeds. */
function seedFor(settings: LocalSettings, user: NatsUser): string | undefined {
  return settings.NATS_URL ? settings.NATS_SEED_FILE : user.seedFile
}

function existingNats(url: string): Server {
  return {
    url,
    async ready() {
      const { hostname, port } = new URL(url)
      if (await answersAsNats(hostname, Number(port || NATS_PORT))) return
      throw new StartError('the server of NATS_URL does not answer')
    },
  }
}

function existingDatabase(url: string): Server {
  return {
    url,
    async ready() {
      const refusal = await refusalOf(url)
      if (refusal) throw new StartError(`the database of DATABASE_URL does not answer: ${refusal.reason}`)
    },
  }
}

async function startPostgres(deps: LocalFleetDeps, supervisor: SupervisorDeps): Promise<Server> {
  const { state, stack, signal, say } = deps
  say('starting PostgreSQL')
  const logPath = join(state.logs, 'postgres.log')
  const postgres = await preparePrivatePostgres({ folder: state.postgres, logPath, user: postgresUser() })
  const server = stack.use(new SupervisedProcess(postgres.spec, supervisor))
  return { url: postgres.url, ready: () => whileHopeful(server, signal, postgres.ready) }
}

async function startNats(
  deps: LocalFleetDeps,
  supervisor: SupervisorDeps,
  controlPlane: NatsUser,
  agents: readonly AgentUser[],
): Promise<Server> {
  const { state, stack, signal, say } = deps
  say('starting nats-server')
  const program = findTool('nats-server')
  if (!program) throw new StartError('nats-server is not installed')
  const logPath = join(state.logs, 'nats-server.log')
  const nats = await preparePrivateNats({ program, folder: state.nats, logPath, controlPlane, agents })
  const server = stack.use(new SupervisedProcess(nats.spec, supervisor))
  return { url: nats.url, ready: () => whileHopeful(server, signal, nats.ready) }
}

function isHopeless({ failures }: SupervisedProcess): boolean {
  return failures >= HOPELESS_FAILURES
}

/** Waits for a private server, and no longer once it fails again and again. @throws StartError with the end of its log. */
async function whileHopeful(
  server: SupervisedProcess,
  signal: AbortSignal,
  ready: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const hopeless = new AbortController()
  const watch = setInterval(() => isHopeless(server) && hopeless.abort(), HOPE_POLL_MS)
  try {
    await ready(AbortSignal.any([signal, hopeless.signal]))
  } catch (error) {
    signal.throwIfAborted()
    const reason = error instanceof StartError ? error.message : `${server.spec.name} fails again and again`
    throw new StartError([reason, ...logTail(server)].join('\n'))
  } finally {
    clearInterval(watch)
  }
}

/** Stopped together, before the servers they use. */
function superviseAll(
  { stack, say }: LocalFleetDeps,
  supervisor: SupervisorDeps,
  specs: readonly ProcessSpec[],
): readonly SupervisedProcess[] {
  say(`starting ${specs.map(({ name }) => name).join(', ')}`)
  const processes = specs.map((spec) => new SupervisedProcess(spec, supervisor))
  stack.defer(async () => {
    await Promise.all(processes.map((child) => child.stop()))
  })
  return processes
}

function describePool(agent: string, driver: string, note: string | undefined): string {
  const because = note === undefined ? '' : `, ${note}`
  const warning = driver === 'copy' ? ': plain copies, NOT copy-on-write' : ''
  return `${agent}: ${driver} pool${warning}${because}`
}

function whyNotReady(missing: readonly string[], processes: readonly SupervisedProcess[]): string {
  const failing = processes.filter(({ failures }) => failures > 0)
  const shown = failing.length > 0 ? failing : processes
  return [`not ready: ${missing.join('; ')}`, ...shown.flatMap(logTail)].join('\n')
}

function logTail({ spec }: SupervisedProcess): readonly string[] {
  return [`  ${spec.logPath}:`, ...tailOfLog(spec.logPath).map((line) => `    ${line}`)]
}
