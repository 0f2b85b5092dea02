import { randomBytes } from 'node:crypto'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { ExecutionContext } from 'ava'
import pg from 'pg'
import { AGENT, CONTROL_PLANE } from '../../deploy/node-flags.ts'
import { type Backends, startBackends } from './backends.ts'
import { freePort } from './free-port.ts'
import { seeing } from './own-mounts.ts'
import { TestProcess } from './process.ts'
import { until } from './until.ts'

const ROOT = resolve(import.meta.dirname, '../..')

export interface AgentWish {
  readonly name: string
  readonly driver: 'btrfs' | 'reflink' | 'copy' | 'sim'
  /** The pool's directory; sim needs none. */
  readonly path?: string
  readonly environment?: Readonly<Record<string, string>>
  /** A file that this agent alone sees as /etc/hosts; needs root. */
  readonly hosts?: string
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  // as: tests look into answers by name; what is not there is undefined and fails their assertions.
  // biome-ignore lint/suspicious/noExplicitAny: see above
  readonly body: any
}

export interface TestFleet {
  readonly backends: Backends
  readonly token: string
  readonly planes: readonly TestProcess[]
  url(plane?: number): string
  agent(name: string): TestProcess
  /** Gives an agent a token, which it reads when it starts. */
  enrol(agent: string): Promise<void>
  /** What an agent keeps of its own: its state directory. */
  state(agent: string): string
  /** Starts a control plane or agent that a test killed, and waits until it is ready. */
  ready(what: { readonly plane: number } | { readonly agent: string }): Promise<void>
  call(
    method: string,
    path: string,
    body?: unknown,
    options?: {
      readonly plane?: number
      readonly token?: string
      readonly headers?: Readonly<Record<string, string>>
    },
  ): Promise<Answer>
  // biome-ignore lint/suspicious/noExplicitAny: rows of ad-hoc queries
  sql(text: string, values?: readonly unknown[]): Promise<any[]>
  /** Waits for a job's end and gives the job. */
  // biome-ignore lint/suspicious/noExplicitAny: a job as the API shows it
  ended(jobId: string, timeoutMs?: number): Promise<any>
  /** What must hold whenever nothing is asked of the fleet: every job ended, no lane held. */
  quiet(timeoutMs?: number): Promise<void>
}

/** A whole fleet of this test's own: real Postgres, real nats-server, control planes and agents as processes. */
export async function startFleet(
  t: Pick<ExecutionContext, 'teardown' | 'passed' | 'log'>,
  wish: {
    readonly agents: readonly AgentWish[]
    readonly planes?: number
    /** Of the control planes, beside what they always get. */
    readonly environment?: Readonly<Record<string, string>>
    /** NATS speaks TLS only, and wants a certificate of every client. */
    readonly natsTls?: boolean
    readonly ownPostgres?: boolean
  },
): Promise<TestFleet> {
  const backends = await startBackends(t, { natsTls: wish.natsTls, ownPostgres: wish.ownPostgres })
  const token = randomBytes(32).toString('hex')
  const credentials = join(backends.folder, 'credentials.json')
  writeFileSync(credentials, JSON.stringify({ token }), { mode: 0o600 })
  const ports = await Promise.all(Array.from({ length: wish.planes ?? 1 }, freePort))
  const planes = ports.map(
    (port, n) => new TestProcess(planeSpec(backends, { port, credentials, n, environment: wish.environment ?? {} })),
  )
  const portals = await Promise.all(wish.agents.map(freePort))
  const agents = new Map(
    wish.agents.map((agent, n) => {
      const to = { plane: ports[0] ?? 0, portal: portals[n] ?? 0 }
      return [agent.name, new TestProcess(agentSpec(backends, agent, to))] as const
    }),
  )
  const db = new pg.Pool({ connectionString: backends.databaseUrl, max: 2 })
  db.on('error', () => undefined)
  t.teardown(async () => {
    await Promise.all([...agents.values(), ...planes].map((process) => process.stop()))
    await db.end()
    if (!t.passed)
      for (const process of [...planes, ...agents.values()]) t.log(process.spec.name, process.log().slice(-4_000))
  })

  const url = (plane = 0) => `http://127.0.0.1:${ports[plane]}`
  const call: TestFleet['call'] = async (method, path, body, options = {}) => {
    const response = await fetch(url(options.plane) + path, {
      method,
      headers: { authorization: `Bearer ${options.token ?? token}`, ...options.headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) }
  }

  const fleet: TestFleet = {
    backends,
    token,
    planes,
    url,
    call,
    agent(name) {
      const agent = agents.get(name)
      if (agent === undefined) throw new Error(`no agent '${name}'`)
      return agent
    },
    state: (name) => join(backends.folder, name),
    async enrol(name) {
      const made = await call('POST', '/api/v1/hosts/enrolments', { name })
      if (made.status !== 201) throw new Error(`${name} cannot be enrolled: ${JSON.stringify(made.body)}`)
      writeFileSync(join(fleet.state(name), 'enrolment-token'), made.body.token, { mode: 0o600 })
    },
    async ready(what) {
      if ('plane' in what) {
        planes[what.plane]?.start()
        await until('the control plane is ready', async () => (await fetch(`${url(what.plane)}/readyz`)).status === 200)
      } else {
        fleet.agent(what.agent).start()
        await until(
          `${what.agent} is online`,
          async () => (await call('GET', `/api/v1/hosts/${what.agent}`)).body.state === 'online',
        )
      }
    },
    sql: async (text, values = []) => (await db.query(text, [...values])).rows,
    ended: (jobId, timeoutMs) =>
      until(
        `job ${jobId} ends`,
        async () => {
          const { body } = await call('GET', `/api/v1/jobs/${jobId}`)
          return ['succeeded', 'failed', 'cancelled'].includes(body.state) ? body : undefined
        },
        timeoutMs,
      ),
    quiet: async (timeoutMs) => {
      await until(
        'every job has ended and every lane is free',
        async () => {
          const [row] = await fleet.sql(
            `select (select count(*) from job where finished_at is null)::int as jobs, (select count(*) from lane_hold)::int as lanes`,
          )
          return row.jobs === 0 && row.lanes === 0
        },
        timeoutMs,
      )
    },
  }
  for (const n of planes.keys()) await fleet.ready({ plane: n })
  for (const name of agents.keys()) {
    await fleet.enrol(name)
    await fleet.ready({ agent: name })
  }
  await until('root is there', async () => (await call('GET', '/api/v1/datasets/root')).status === 200)
  return fleet
}

interface PlaneWish {
  readonly port: number
  readonly credentials: string
  readonly n: number
  readonly environment: Readonly<Record<string, string>>
}

function planeSpec(backends: Backends, wish: PlaneWish) {
  return nodeSpec(
    backends,
    { ...CONTROL_PLANE, name: `control-plane-${wish.n}`, entry: 'control-plane/main.ts' },
    {
      HOLDFAST_PORT: String(wish.port),
      DATABASE_URL: backends.databaseUrl,
      NATS_AUTHORITY_FILE: backends.authorityFile,
      HOLDFAST_CREDENTIALS_FILE: wish.credentials,
      HOLDFAST_SECRETS_KEY: backends.secretsKey,
      ...(backends.tls ? { NATS_CA_FILE: backends.tls.ca } : {}),
      ...wish.environment,
    },
  )
}

function agentSpec(backends: Backends, agent: AgentWish, to: { readonly plane: number; readonly portal: number }) {
  const state = join(backends.folder, agent.name)
  mkdirSync(state, { recursive: true })
  const spec = nodeSpec(
    backends,
    { ...AGENT, name: agent.name, entry: 'agent/main.ts' },
    {
      HOLDFAST_AGENT_NAME: agent.name,
      HOLDFAST_AGENT_STATE: state,
      HOLDFAST_AGENT_POOLS: JSON.stringify([
        { name: `${agent.name}-pool`, path: agent.path ?? join(state, 'pool'), driver: agent.driver },
      ]),
      // What happens to run on this machine is none of a test's.
      HOLDFAST_AGENT_LXC_PATH: '',
      HOLDFAST_AGENT_DOCKER_SOCKET: '',
      HOLDFAST_LIBVIRT_URI: '',
      HOLDFAST_AGENT_PORTALS: `127.0.0.1:${to.portal}`,
      HOLDFAST_AGENT_EXPORTS_OUTLIVE: 'false',
      HOLDFAST_ENROL_URL: `http://127.0.0.1:${to.plane}`,
      HOLDFAST_ENROL_TOKEN_FILE: join(state, 'enrolment-token'),
      ...agent.environment,
    },
  )
  return agent.hosts === undefined ? spec : withHosts(spec, agent.hosts)
}

function withHosts(spec: ReturnType<typeof nodeSpec>, hosts: string) {
  return { ...spec, ...seeing(hosts, '/etc/hosts', [spec.command, ...spec.args]) }
}

interface NodeProgram {
  readonly name: string
  readonly entry: string
  readonly flags: readonly string[]
  readonly environment: Readonly<Record<string, string>>
}

function nodeSpec(backends: Backends, program: NodeProgram, environment: Readonly<Record<string, string>>) {
  return {
    name: program.name,
    command: process.execPath,
    args: [...program.flags, join(ROOT, program.entry)],
    environment: {
      PATH: process.env.PATH,
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
      NATS_URL: backends.natsUrl,
      // An agent learns of the authority when it enrols.
      ...(backends.tls ? { NATS_CERT_FILE: backends.tls.cert, NATS_KEY_FILE: backends.tls.key } : {}),
      ...program.environment,
      ...environment,
    },
    workingDirectory: ROOT,
    logPath: join(backends.folder, `${program.name}.log`),
    stopSignal: 'SIGTERM' as const,
    stopTimeoutMs: 10_000,
  }
}

/** What NATS keeps on its disk is gone, as after the loss of that disk. */
export function wipeNats(backends: Backends): void {
  rmSync(backends.natsStore, { recursive: true, force: true })
  mkdirSync(backends.natsStore, { recursive: true })
}
