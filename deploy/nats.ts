import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { nkeys } from 'nats'
import { WORK_STREAM, workConsumer } from '../shared/wire/streams.ts'
import { subjects } from '../shared/wire/subjects.ts'
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

/** One NATS user: the file that holds its nkey seed, and the public key the server knows it by. */
export interface NatsUser {
  readonly seedFile: string
  readonly publicKey: string
}

export interface AgentUser extends NatsUser {
  readonly host: string
}

interface Permissions {
  readonly publish: readonly string[]
  readonly subscribe: readonly string[]
}

/** Finds the user's seed file, or makes one that only its owner can read. */
export function ensureNatsUser(folder: string, name: string): NatsUser {
  mkdirSync(folder, { recursive: true, mode: PRIVATE_DIRECTORY_MODE })
  const seedFile = join(folder, `${name}.seed`)
  if (!existsSync(seedFile)) {
    const seed = Buffer.from(nkeys.createUser().getSeed()).toString('ascii')
    writeFileAtomically(seedFile, seed)
  }
  const seed = Buffer.from(readFileSync(seedFile, 'ascii').trim(), 'ascii')
  return { seedFile, publicKey: nkeys.fromSeed(seed).getPublicKey() }
}

/** An agent's rights: its own subjects, its own durable consumer, its own inbox, and replies to what it is asked. */
export function agentPermissions(host: string): Permissions {
  const durable = `${WORK_STREAM}.${workConsumer(host)}`
  return {
    publish: [
      subjects.event(host),
      subjects.beat(host),
      subjects.hello(host),
      subjects.ask(host),
      `$JS.API.CONSUMER.INFO.${durable}`,
      `$JS.API.CONSUMER.MSG.NEXT.${durable}`,
      `$JS.ACK.${durable}.>`,
    ],
    subscribe: [subjects.cancel(host), subjects.confirm(host), subjects.hostReads(host), `_INBOX_${host}.>`],
  }
}

/** nats-server's configuration file (2.9 syntax): loopback only, nkeys only, JetStream. */
export function natsConfig(options: {
  readonly port: number
  readonly storeDirectory: string
  readonly controlPlane: NatsUser
  readonly agents: readonly AgentUser[]
}): string {
  const agents = options.agents.map(({ host, publicKey }) => {
    const { publish, subscribe } = agentPermissions(host)
    return `    { nkey: ${publicKey}, permissions: {
      publish: { allow: ${JSON.stringify(publish)} }
      subscribe: { allow: ${JSON.stringify(subscribe)} }
      allow_responses: true
    } }`
  })
  return `listen: "127.0.0.1:${options.port}"
server_name: "holdfast"
jetstream: { store_dir: ${JSON.stringify(options.storeDirectory)}, max_file_store: ${MAX_STORE_BYTES} }
authorization: {
  timeout: 5
  users: [
    { nkey: ${options.controlPlane.publicKey} }
${agents.join('\n')}
  ]
}
`
}

export interface PrivateNats {
  readonly url: string
  readonly spec: ProcessSpec
  ready(signal: AbortSignal): Promise<void>
}

/** Writes the configuration of a private server below `folder`; its data stay there. */
export async function preparePrivateNats(options: {
  readonly program: string
  readonly folder: string
  readonly logPath: string
  readonly controlPlane: NatsUser
  readonly agents: readonly AgentUser[]
}): Promise<PrivateNats> {
  const { program, folder, logPath, controlPlane, agents } = options
  const storeDirectory = join(folder, 'jetstream')
  mkdirSync(storeDirectory, { recursive: true, mode: PRIVATE_DIRECTORY_MODE })
  const port = await keptPort(join(folder, 'port.json'))
  const configPath = join(folder, 'nats-server.conf')
  writeFileAtomically(configPath, natsConfig({ port, storeDirectory, controlPlane, agents }))
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
