import { accessSync, constants, mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { PRIVATE_DIRECTORY_MODE } from './atomic-file.ts'
import { StartError } from './start-error.ts'

/** Where everything lives below `HOLDFAST_STATE`. */
export interface StateDirectory {
  readonly path: string
  readonly lock: string
  readonly processes: string
  readonly credentials: string
  /** What the control plane seals secrets with. */
  readonly secretsKey: string
  readonly logs: string
  readonly postgres: string
  readonly nats: string
  /** The authority of the TLS listener and its clients. */
  readonly tls: string
  /** Where the station is backed up to every day. */
  readonly stationBackups: string
  agent(name: string): string
}

/** Makes the directory for its owner alone, or finds it. @throws StartError when it cannot be used. */
export function openStateDirectory(path: string): StateDirectory {
  try {
    mkdirSync(path, { recursive: true, mode: PRIVATE_DIRECTORY_MODE })
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch (error) {
    throw new StartError(
      `the state directory cannot be used: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
  if (!statSync(path).isDirectory()) throw new StartError(`the state directory ${path} is not a directory`)
  const state = stateDirectoryAt(path)
  mkdirSync(state.logs, { recursive: true, mode: PRIVATE_DIRECTORY_MODE })
  mkdirSync(state.stationBackups, { recursive: true, mode: PRIVATE_DIRECTORY_MODE })
  return state
}

/** The names alone: nothing is made or looked at. */
export function stateDirectoryAt(path: string): StateDirectory {
  return {
    path,
    lock: join(path, 'lock'),
    processes: join(path, 'processes.json'),
    credentials: join(path, 'credentials.json'),
    secretsKey: join(path, 'secrets-key'),
    logs: join(path, 'logs'),
    postgres: join(path, 'postgres'),
    nats: join(path, 'nats'),
    tls: join(path, 'tls'),
    stationBackups: join(path, 'station-backups'),
    agent: (name) => join(path, 'agents', name),
  }
}
