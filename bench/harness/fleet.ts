import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AGENT, CONTROL_PLANE } from '../../deploy/node-flags.ts'
import type { DriverName } from '../../shared/wire/messages.ts'
import { type BenchProcess, freePort } from './processes.ts'
import type { Workbench } from './workbench.ts'

export interface ControlPlane {
  readonly process: BenchProcess
  readonly port: number
  readonly token: string
  get(path: string): Promise<Response>
  post(path: string, body: object): Promise<Response>
  /** Resolves when the `root` dataset stands, which takes a host with a pool. */
  rooted(): Promise<void>
}

/** A real control plane with its defaults, but for `environment`. */
export async function startControlPlane(
  workbench: Workbench,
  servers: {
    readonly databaseUrl: string
    readonly natsUrl: string
    readonly environment?: Readonly<Record<string, string>>
  },
  name = 'control-plane',
): Promise<ControlPlane> {
  const port = await freePort()
  const token = randomBytes(32).toString('base64url')
  const credentials = join(workbench.folder, `${name}.json`)
  writeFileSync(credentials, JSON.stringify({ token }), { mode: 0o600 })
  const running = workbench.startNode({
    name,
    entry: 'control-plane/main.ts',
    flags: CONTROL_PLANE.flags,
    environment: {
      ...CONTROL_PLANE.environment,
      HOLDFAST_PORT: String(port),
      HOLDFAST_CREDENTIALS_FILE: credentials,
      HOLDFAST_SECRETS_KEY: Buffer.alloc(32, 1).toString('base64'),
      DATABASE_URL: servers.databaseUrl,
      NATS_URL: servers.natsUrl,
      ...servers.environment,
    },
  })
  const ask = (path: string, init: RequestInit) => fetch(`http://127.0.0.1:${port}${path}`, init)
  const authorization = { Authorization: `Bearer ${token}` }
  const get = (path: string) => ask(path, { headers: authorization })
  await running.until(async () => (await get('/readyz')).ok)
  return {
    process: running,
    port,
    token,
    get,
    async post(path, body) {
      const headers = { ...authorization, 'Content-Type': 'application/json' }
      const response = await ask(path, { method: 'POST', headers, body: JSON.stringify(body) })
      if (!response.ok) throw new Error(`POST ${path}: ${response.status} ${await response.text()}`)
      return response
    },
    rooted: () => running.until(async () => (await get('/api/v1/datasets/root')).ok),
  }
}

/** A real agent with one pool. */
export function startAgent(
  workbench: Workbench,
  options: {
    readonly natsUrl: string
    readonly driver: DriverName
    readonly path: string
    readonly name?: string
    readonly environment?: Readonly<Record<string, string>>
  },
): BenchProcess {
  const name = options.name ?? 'agent'
  const state = join(workbench.folder, `${name}-state`)
  mkdirSync(state, { recursive: true, mode: 0o700 })
  return workbench.startNode({
    name,
    entry: 'agent/main.ts',
    flags: AGENT.flags,
    environment: {
      ...AGENT.environment,
      HOLDFAST_AGENT_NAME: name,
      HOLDFAST_AGENT_STATE: state,
      HOLDFAST_AGENT_POOLS: JSON.stringify([{ name: `${name}-pool`, path: options.path, driver: options.driver }]),
      NATS_URL: options.natsUrl,
      ...options.environment,
    },
  })
}

/** A stand-in for an agent that does nothing and says so at once: what is left is the control plane's own cost. */
export async function startInstantAgent(workbench: Workbench, natsUrl: string, name = 'instant'): Promise<void> {
  const args = [JSON.stringify({ natsUrl, host: name })]
  await workbench.startNode({ name, entry: 'bench/programs/instant-agent.ts', args }).hear()
}
