import { join } from 'node:path'
import { compileAgent } from './compile-agent.ts'
import { ensureCredentials, ensureSecretsKey } from './credentials.ts'
import { enrolAgents, hasCredentials } from './enrol-agents.ts'
import { ensurePackages } from './ensure-packages.ts'
import {
  agentProcess,
  compileCache,
  controlPlaneProcess,
  type FleetEnvironment,
  type LocalAgent,
} from './fleet-processes.ts'
import { waitUntilReady } from './fleet-ready.ts'
import { ensureTls, type LocalTls } from './local-tls.ts'
import { tailOfLog } from './log-file.ts'
import { answersAsNats, ensureAuthority, preparePrivateNats } from './nats.ts'
import { openPool } from './pool.ts'
import { isPortFree, keptPort } from './ports.ts'
import { preparePrivatePostgres, refusalOf } from './postgres.ts'
import type { ProcessRecord } from './process-record.ts'
import { restoreStation } from './restore-station.ts'
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

/**
 * Everything on one machine: Postgres and nats-server (unless existing ones are named), pools, the control plane and its
 * agents. Returns when the fleet answers.
 * @throws StartError when something the operator can mend stands in the way.
 */
export async function startLocalFleet(deps: LocalFleetDeps): Promise<void> {
  const { settings, state, signal, say } = deps
  await clearTheGround(deps)
  const supervisor = createSupervisor(deps)
  const agents = await openAgents(deps)

  const database = settings.DATABASE_URL
    ? existingDatabase(settings.DATABASE_URL)
    : await startPostgres(deps, supervisor)
  signal.throwIfAborted()
  if (settings.HOLDFAST_RESTORE) {
    await database.ready()
    const { HOLDFAST_RESTORE: from, HOLDFAST_RESTORE_IDENTITY: identity } = settings
    await restoreStation({ from, identity, databaseUrl: database.url, state, root: deps.root, say })
  }
  const authorityFile = settings.NATS_URL ? settings.NATS_AUTHORITY_FILE : await ensureAuthority(state.nats, deps.root)
  const nats = settings.NATS_URL ? existingNats(settings.NATS_URL) : await startNats(deps, supervisor)
  await Promise.all([database.ready(), nats.ready(), compiled(deps)])
  signal.throwIfAborted()

  const tls = await openTls(deps)
  const fleet: FleetEnvironment = {
    settings,
    root: deps.root,
    logs: state.logs,
    databaseUrl: database.url,
    natsUrl: nats.url,
    authorityFile,
    credentialsFile: state.credentials,
    secretsKeyFile: settings.HOLDFAST_SECRETS_KEY_FILE ?? state.secretsKey,
    stationBackups: settings.HOLDFAST_STATION_BACKUP_DIR ?? state.stationBackups,
    tls: tls?.environment ?? {},
  }
  if (!settings.HOLDFAST_SECRETS_KEY_FILE) ensureSecretsKey(state.secretsKey)
  const url = `http://127.0.0.1:${settings.HOLDFAST_PORT}`
  const credentials = ensureCredentials(state.credentials, url)
  const processes = openProcesses(deps, supervisor)
  processes.start(controlPlaneProcess(fleet))
  const waiting = { credentials, timeoutMs: READY_TIMEOUT_MS, shouldGiveUp: processes.areHopeless, signal }
  const early = agents.filter((agent) => authorityFile === undefined || hasCredentials(agent))
  for (const agent of early) processes.start(agentProcess(fleet, agent))
  const enrolled = authorityFile === undefined ? [] : await enrolAgents({ ...waiting, agents })
  // One that runs already reads its token when it starts again.
  for (const agent of enrolled) await processes.restart(agentProcess(fleet, agent))
  const missing = await waitUntilReady({ ...waiting, agents: agents.map(({ name }) => name) })
  if (missing.length > 0) throw new StartError(whyNotReady(missing, processes.all()))
  for (const { name, pool } of agents) say(describePool(name, pool.driver, pool.note))
  if (tls) say(await tls.link(credentials))
  say(`ready ${url}`)
}

/** What agents can do without stops no start. */
async function compiled({ root, state, say, signal }: LocalFleetDeps): Promise<void> {
  try {
    await compileAgent(root, compileCache(state, 'agent'), signal)
  } catch (error) {
    signal.throwIfAborted()
    say(`agents compile their own code: ${error instanceof Error ? error.message.split('\n')[0] : error}`)
  }
}

/** Ends survivors, and finds what would stop a start before anything has begun. */
async function clearTheGround({ settings, record, say, signal }: LocalFleetDeps): Promise<void> {
  const survivors = await record.endSurvivors()
  if (survivors.length > 0) say(`ended what an earlier run had left: ${survivors.join(', ')}`)
  for (const name of ['HOLDFAST_PORT', 'HOLDFAST_TLS_PORT', 'HOLDFAST_BACKUP_PORT'] as const) {
    const port = settings[name]
    if (port === undefined || (await isPortFree(port))) continue
    throw new StartError(`port ${port} is in use: set ${name} to another one`)
  }
  const except = [
    ...(needsCertificates(settings) ? [] : ['openssl']),
    ...(settings.DATABASE_URL ? ['postgresql'] : []),
    ...(settings.NATS_URL ? ['nats-server'] : []),
  ]
  await ensurePackages('start', { except, say })
  signal.throwIfAborted()
}

function needsCertificates({ HOLDFAST_TLS_PORT, HOLDFAST_TLS_CERT_FILE }: LocalSettings): boolean {
  return HOLDFAST_TLS_PORT !== undefined && HOLDFAST_TLS_CERT_FILE === undefined
}

/** Undefined without a listener, and where its files are somebody's own. */
async function openTls({ settings, state, root }: LocalFleetDeps): Promise<LocalTls | undefined> {
  const { HOLDFAST_TLS_PORT: port } = settings
  return port === undefined || !needsCertificates(settings) ? undefined : ensureTls(state.tls, { root, port })
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

/** One after the other: a loop device each. */
async function openAgents({ settings, state, sim, stack, signal }: LocalFleetDeps): Promise<readonly LocalAgent[]> {
  const agents: LocalAgent[] = []
  for (let n = 1; n <= settings.HOLDFAST_AGENTS; n += 1) {
    const name = `agent-${n}`
    const folder = state.agent(name)
    const pool = await openPool(folder, { sim })
    stack.defer(() => pool.close())
    signal.throwIfAborted()
    const portal = `127.0.0.1:${await keptPort(join(folder, 'iscsi-port.json'))}`
    agents.push({ name, poolName: `pool-${n}`, portal, folder, pool })
  }
  return agents
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

async function startNats({ state, stack, signal, say }: LocalFleetDeps, supervisor: SupervisorDeps): Promise<Server> {
  say('starting nats-server')
  const program = findTool('nats-server')
  if (!program) throw new StartError('nats-server is not installed')
  const logPath = join(state.logs, 'nats-server.log')
  const nats = await preparePrivateNats({ program, folder: state.nats, logPath })
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

interface Processes {
  start(spec: ProcessSpec): void
  /** Starts it, after it was stopped where it ran. */
  restart(spec: ProcessSpec): Promise<void>
  all(): readonly SupervisedProcess[]
  areHopeless(): boolean
}

/** Stopped together, before the servers they use. */
function openProcesses({ stack, say }: LocalFleetDeps, supervisor: SupervisorDeps): Processes {
  const running = new Map<string, SupervisedProcess>()
  stack.defer(async () => {
    await Promise.all([...running.values()].map((child) => child.stop()))
  })
  const start = (spec: ProcessSpec) => {
    say(`starting ${spec.name}`)
    running.set(spec.name, new SupervisedProcess(spec, supervisor))
  }
  return {
    start,
    async restart(spec) {
      await running.get(spec.name)?.stop()
      start(spec)
    },
    all: () => [...running.values()],
    areHopeless: () => [...running.values()].some(isHopeless),
  }
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
