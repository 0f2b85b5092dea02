import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { PRIVATE_DIRECTORY_MODE, writeFileAtomically } from './atomic-file.ts'
import { keptPort } from './ports.ts'
import { StartError } from './start-error.ts'
import type { ProcessSpec } from './supervised-process.ts'

/** Named, because the default (most of what is free on the disk) may be less than our streams reserve. */
const MAX_STORE_BYTES = 8 * 1024 ** 3
const STOP_TIMEOUT_MS = 1_000
const READY_TIMEOUT_MS = 15_000
const READY_POLL_MS = 25
const CONNECT_TIMEOUT_MS = 5_000
const MAKE_TIMEOUT_MS = 30_000

/** What `holdfast nats authority` leaves in a folder: for the control plane, and for nats-server to include. */
export const AUTHORITY_FILE = 'authority.json'
export const AUTHORITY_CONFIGURATION = 'authority.conf'

/** Finds or makes the keys by which agents are let in. @returns the control plane's file. @throws StartError. */
export async function ensureAuthority(folder: string, root: string): Promise<string> {
  const file = join(folder, AUTHORITY_FILE)
  if (existsSync(file)) return file
  // Of an authority that is gone, or from before there was one: nobody could read it, and everything is sent again.
  rmSync(join(folder, 'jetstream'), { recursive: true, force: true })
  rmSync(join(folder, 'accounts'), { recursive: true, force: true })
  const args = [join(root, 'control-plane/cli.ts'), 'nats', 'authority', '--folder', folder]
  try {
    await promisify(execFile)(process.execPath, args, { cwd: root, timeout: MAKE_TIMEOUT_MS })
  } catch (error) {
    throw new StartError(
      `the keys of NATS could not be made: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
  return file
}

/** nats-server's configuration file (2.9 syntax): loopback only, JetStream, users of our authority only. */
export function natsConfig(options: {
  readonly port: number
  readonly storeDirectory: string
  readonly accountsDirectory: string
}): string {
  return `listen: "127.0.0.1:${options.port}"
server_name: "holdfast"
jetstream: { store_dir: ${JSON.stringify(options.storeDirectory)}, max_file_store: ${MAX_STORE_BYTES} }
# The control plane replaces the fleet's account here when it revokes a key.
resolver: { type: full, dir: ${JSON.stringify(options.accountsDirectory)}, allow_delete: false, interval: "2m" }
include "${AUTHORITY_CONFIGURATION}"
`
}

export interface PrivateNats {
  readonly url: string
  readonly spec: ProcessSpec
  ready(signal: AbortSignal): Promise<void>
}

/** Writes the configuration of a private server below `folder`, which holds the authority; its data stay there too. */
export async function preparePrivateNats(options: {
  readonly program: string
  readonly folder: string
  readonly logPath: string
}): Promise<PrivateNats> {
  const { program, folder, logPath } = options
  const storeDirectory = join(folder, 'jetstream')
  const accountsDirectory = join(folder, 'accounts')
  for (const directory of [storeDirectory, accountsDirectory]) {
    mkdirSync(directory, { recursive: true, mode: PRIVATE_DIRECTORY_MODE })
  }
  const port = await keptPort(join(folder, 'port.json'))
  const configPath = join(folder, 'nats-server.conf')
  writeFileAtomically(configPath, natsConfig({ port, storeDirectory, accountsDirectory }))
  return {
    url: `nats://127.0.0.1:${port}`,
    spec: {
      name: 'nats-server',
      command: program,
      args: ['--config', configPath],
      environment: { PATH: process.env.PATH },
      workingDirectory: folder,
      logPath,
      // SIGTERM ends it too; on SIGINT 2.9 exits 0.
      stopSignal: 'SIGINT',
      stopTimeoutMs: STOP_TIMEOUT_MS,
    },
    ready: (signal) => waitForAnswer(port, signal),
  }
}

async function waitForAnswer(port: number, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS
  while (!(await answersAsNats('127.0.0.1', port))) {
    if (performance.now() > deadline) throw new StartError('nats-server does not answer')
    await sleep(READY_POLL_MS, undefined, { signal })
  }
}

/** A NATS server greets whoever connects (`INFO {…}`), before TLS and before any credentials. */
export function answersAsNats(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host, port, timeout: CONNECT_TIMEOUT_MS })
    const answer = (answers: boolean) => {
      resolve(answers)
      socket.destroy()
    }
    socket.once('data', (greeting) => answer(greeting.toString('latin1').startsWith('INFO ')))
    for (const end of ['error', 'close', 'timeout']) socket.once(end, () => answer(false))
  })
}
