import { join } from 'node:path'
import { tokenFile } from './enrol-agents.ts'
import { AGENT, CONTROL_PLANE } from './node-flags.ts'
import type { Pool } from './pool.ts'
import type { LocalSettings } from './settings.ts'
import type { ProcessSpec } from './supervised-process.ts'

/** With those of nats-server, Postgres and the unmounts it stays below 10 s. */
const STOP_TIMEOUT_MS = 5_000

/** What the control plane and the agents are told in common. */
export interface FleetEnvironment {
  readonly settings: LocalSettings
  /** The checkout that holds `control-plane/` and `agent/`. */
  readonly root: string
  readonly logs: string
  readonly databaseUrl: string
  readonly natsUrl: string
  /** With it every agent is enrolled; absent: NATS is somebody else's and knows our processes its own way. */
  readonly authorityFile: string | undefined
  readonly credentialsFile: string
  readonly secretsKeyFile: string
  readonly stationBackups: string
  /** For the control plane: files of the TLS listener, where they were made for it. */
  readonly tls: Readonly<Record<string, string>>
}

export interface LocalAgent {
  /** Host name of the agent: `agent-1`. */
  readonly name: string
  readonly poolName: string
  readonly pool: Pool
  /** `address:port` of its iSCSI exports. */
  readonly portal: string
  /** Its own directory, below which `journal` and the rest of its state live. */
  readonly folder: string
}

/** Ours, without what npm and the bootstrap added, and without the settings of other processes. */
function inherited(): NodeJS.ProcessEnv {
  const names = Object.keys(process.env).filter(
    (name) => !/^(npm_|HOLDFAST_SECRETS_|DATABASE_URL$|NATS_AUTHORITY_FILE$)/.test(name),
  )
  return Object.fromEntries(names.map((name) => [name, process.env[name]]))
}

interface NodeProgram {
  readonly name: string
  readonly entry: string
  readonly flags: readonly string[]
}

function nodeProcess(fleet: FleetEnvironment, { name, entry, flags }: NodeProgram): Omit<ProcessSpec, 'environment'> {
  return {
    name,
    command: process.execPath,
    args: [...flags, join(fleet.root, entry)],
    workingDirectory: fleet.root,
    logPath: join(fleet.logs, `${name}.log`),
    stopSignal: 'SIGTERM',
    stopTimeoutMs: STOP_TIMEOUT_MS,
  }
}

function commonEnvironment(fleet: FleetEnvironment): Readonly<Record<string, string>> {
  return { NATS_URL: fleet.natsUrl, HOLDFAST_LOG_LEVEL: fleet.settings.HOLDFAST_LOG_LEVEL }
}

function enrolmentEnvironment(fleet: FleetEnvironment, agent: LocalAgent): Readonly<Record<string, string>> {
  if (fleet.authorityFile === undefined) return {}
  return {
    HOLDFAST_ENROL_URL: `http://127.0.0.1:${fleet.settings.HOLDFAST_PORT}`,
    HOLDFAST_ENROL_TOKEN_FILE: tokenFile(agent),
  }
}

/** Compiled code, so that processes and their threads start in a third of the time; of use to equal flags only. */
export function compileCache({ logs }: Pick<FleetEnvironment, 'logs'>, program: 'agent' | 'control-plane'): string {
  return join(logs, '..', 'compile-cache', program)
}

export function controlPlaneProcess(fleet: FleetEnvironment): ProcessSpec {
  return {
    ...nodeProcess(fleet, { name: 'control-plane', entry: 'control-plane/main.ts', flags: CONTROL_PLANE.flags }),
    environment: {
      ...inherited(),
      ...commonEnvironment(fleet),
      ...(fleet.authorityFile === undefined ? {} : { NATS_AUTHORITY_FILE: fleet.authorityFile }),
      ...CONTROL_PLANE.environment,
      NODE_COMPILE_CACHE: compileCache(fleet, 'control-plane'),
      HOLDFAST_PORT: String(fleet.settings.HOLDFAST_PORT),
      HOLDFAST_BIND: '127.0.0.1',
      ...fleet.tls,
      HOLDFAST_CREDENTIALS_FILE: fleet.credentialsFile,
      HOLDFAST_SECRETS_KEY_FILE: fleet.secretsKeyFile,
      HOLDFAST_STATION_BACKUP_DIR: fleet.stationBackups,
      HOLDFAST_TRUSTED_NETWORKS: fleet.settings.HOLDFAST_TRUSTED_NETWORKS,
      DATABASE_URL: fleet.databaseUrl,
    },
  }
}

const FIRST_AGENT = 'agent-1'
const NO_INSTANCES = { HOLDFAST_AGENT_LXC_PATH: '', HOLDFAST_AGENT_DOCKER_SOCKET: '', HOLDFAST_LIBVIRT_URI: '' }

export function agentProcess(fleet: FleetEnvironment, agent: LocalAgent): ProcessSpec {
  const { driver, path } = agent.pool
  return {
    ...nodeProcess(fleet, { name: agent.name, entry: 'agent/main.ts', flags: AGENT.flags }),
    environment: {
      ...inherited(),
      // All are on one machine: its containers are of one host.
      ...(agent.name === FIRST_AGENT ? {} : NO_INSTANCES),
      ...commonEnvironment(fleet),
      ...enrolmentEnvironment(fleet, agent),
      ...AGENT.environment,
      NODE_COMPILE_CACHE: compileCache(fleet, 'agent'),
      HOLDFAST_AGENT_NAME: agent.name,
      HOLDFAST_AGENT_STATE: join(agent.folder, 'state'),
      HOLDFAST_AGENT_POOLS: JSON.stringify([{ name: agent.poolName, path, driver }]),
      HOLDFAST_AGENT_PORTALS: agent.portal,
      HOLDFAST_AGENT_EXPORTS_OUTLIVE: 'false',
      HOLDFAST_AGENT_RESTORE_PATHS: fleet.settings.HOLDFAST_AGENT_RESTORE_PATHS,
      HOLDFAST_AGENT_SOURCE_PATHS: fleet.settings.HOLDFAST_AGENT_SOURCE_PATHS,
      HOLDFAST_AGENT_TARGET_LOOPBACK: fleet.settings.HOLDFAST_AGENT_TARGET_LOOPBACK,
    },
  }
}
