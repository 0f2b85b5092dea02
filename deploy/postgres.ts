import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { z } from 'zod'
import { PRIVATE_DIRECTORY_MODE, PRIVATE_FILE_MODE } from './atomic-file.ts'
import { newSecret } from './credentials.ts'
import { readKept, writeKept } from './kept-json.ts'
import { keptPort, readPort } from './ports.ts'
import { StartError } from './start-error.ts'
import type { ProcessSpec } from './supervised-process.ts'
import { findPostgresFolders } from './tools.ts'

const SUPERUSER = 'postgres'
const ROLE = 'holdfast'
const DATABASE = 'holdfast'
const PASSWORDS_FILE = 'passwords.json'
const PORT_FILE = 'port.json'
const STOP_TIMEOUT_MS = 1_500
const INITDB_TIMEOUT_MS = 60_000
/** Recovery after a crash replays at most `max_wal_size`. */
const READY_TIMEOUT_MS = 60_000
const READY_POLL_MS = 50
const CONNECT_TIMEOUT_MS = 5_000
/** SQLSTATE invalid_password. */
const INVALID_PASSWORD = '28P01'

/** fsync and synchronous_commit stand at their defaults, `on`, and are named because the design turns on them. */
const SERVER_SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  fsync: 'on',
  synchronous_commit: 'on',
  full_page_writes: 'on',
  shared_buffers: '64MB',
  max_connections: '100',
  max_wal_size: '512MB',
  jit: 'off',
}

const Passwords = z.object({ superuser: z.string(), role: z.string() })
type Passwords = z.infer<typeof Passwords>

/** Who the server runs as. It refuses root; `undefined` means as we do. */
export type ServerUser = { readonly uid: number; readonly gid: number } | undefined

export interface PrivatePostgres {
  readonly url: string
  readonly spec: ProcessSpec
  /** Waits until it answers, then makes sure of the role and the database. */
  ready(signal: AbortSignal): Promise<void>
}

interface Cluster {
  readonly data: string
  readonly user: ServerUser
}

/**
 * Finds or makes the private cluster `<folder>/data`.
 *
 * As root the server runs as user postgres, who often may not even look into our state directory (`/root` is mode 700).
 * It therefore gets its data directory open, as file descriptor 3, and knows it as `/proc/self/fd/3`: Linux follows that
 * link without asking the parents. So all state stays in one place (docs/decisions/0005-one-command-start.md).
 */
export async function preparePrivatePostgres(options: {
  readonly folder: string
  readonly logPath: string
  readonly user: ServerUser
}): Promise<PrivatePostgres> {
  const { folder, logPath, user } = options
  mkdirSync(folder, { recursive: true, mode: PRIVATE_DIRECTORY_MODE })
  const cluster: Cluster = { data: join(folder, 'data'), user }
  const passwords = ensurePasswords(join(folder, PASSWORDS_FILE))
  const programs = programsFor(cluster)
  if (!existsSync(cluster.data)) await makeCluster(programs, cluster, passwords)
  const port = await keptPort(join(folder, PORT_FILE))
  const settings = Object.entries({ ...SERVER_SETTINGS, port: String(port) })
  const address = { host: '127.0.0.1', port }
  return {
    url: databaseUrl(passwords, port),
    spec: {
      name: 'postgres',
      command: join(programs, 'postgres'),
      args: ['-D', dataArgument(cluster), ...settings.flatMap(([name, value]) => ['-c', `${name}=${value}`])],
      environment: serverEnvironment(),
      workingDirectory: '/',
      logPath,
      // SIGINT is postgres' fast shutdown; SIGTERM would wait for clients.
      stopSignal: 'SIGINT',
      stopTimeoutMs: STOP_TIMEOUT_MS,
      ...(user ? { user, openDirectory: cluster.data } : {}),
    },
    async ready(signal) {
      await waitForAnswer({ ...address, user: SUPERUSER, password: passwords.superuser, database: 'postgres' }, signal)
      await ensureDatabase(
        { ...address, user: SUPERUSER, password: passwords.superuser, database: 'postgres' },
        passwords,
      )
    },
  }
}

function databaseUrl(passwords: Passwords, port: number): string {
  return `postgres://${ROLE}:${passwords.role}@127.0.0.1:${port}/${DATABASE}`
}

/** How the private server in this folder is reached, or undefined when none was ever started. */
export function privateDatabaseUrl(folder: string): string | undefined {
  const passwords = readKept(join(folder, PASSWORDS_FILE), Passwords)
  const port = readPort(join(folder, PORT_FILE))
  return passwords && port !== undefined ? databaseUrl(passwords, port) : undefined
}

function ensurePasswords(path: string): Passwords {
  const kept = readKept(path, Passwords)
  if (kept) return kept
  const made = { superuser: newSecret(), role: newSecret() }
  writeKept(path, made)
  return made
}

/** The programs that fit the cluster: a data directory belongs to one major version for good. */
function programsFor({ data }: Cluster): string {
  const folders = findPostgresFolders()
  const [newest] = folders
  if (!newest) throw new StartError('PostgreSQL is not installed')
  const versionFile = join(data, 'PG_VERSION')
  if (!existsSync(versionFile)) return newest
  const version = readFileSync(versionFile, 'utf8').trim()
  const fitting = folders.find((folder) => versionOf(folder) === version)
  if (fitting) return fitting
  throw new StartError(`the data in ${data} need PostgreSQL ${version}: install it, or upgrade them with pg_upgrade`)
}

/** Asked of the program itself: where it lies tells the version on Debian only. */
function versionOf(folder: string): string | undefined {
  return /\(PostgreSQL\) (\d+)/.exec(execFileSync(join(folder, 'postgres'), ['--version'], { encoding: 'utf8' }))?.[1]
}

function dataArgument({ data, user }: Cluster): string {
  return user ? '/proc/self/fd/3' : data
}

function serverEnvironment(): Readonly<Record<string, string>> {
  return { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' }
}

/** Made beside its place and renamed when complete: a half-made cluster is made again. */
async function makeCluster(programs: string, cluster: Cluster, passwords: Passwords): Promise<void> {
  const partial: Cluster = { ...cluster, data: `${cluster.data}.partial` }
  rmSync(partial.data, { recursive: true, force: true })
  mkdirSync(partial.data, { mode: PRIVATE_DIRECTORY_MODE })
  const passwordFile = join(tmpdir(), `holdfast-${newSecret()}`)
  writeFileSync(passwordFile, passwords.superuser, { flag: 'wx', mode: PRIVATE_FILE_MODE })
  try {
    if (cluster.user) {
      chownSync(partial.data, cluster.user.uid, cluster.user.gid)
      chownSync(passwordFile, cluster.user.uid, cluster.user.gid)
    }
    chmodSync(partial.data, PRIVATE_DIRECTORY_MODE)
    await runInitdb(join(programs, 'initdb'), partial, passwordFile)
  } finally {
    rmSync(passwordFile, { force: true })
  }
  renameSync(partial.data, cluster.data)
}

async function runInitdb(program: string, cluster: Cluster, passwordFile: string): Promise<void> {
  const directory = openSync(cluster.data, 'r')
  const options = [
    '--auth=scram-sha-256',
    `--pwfile=${passwordFile}`,
    '--locale=C',
    '--encoding=UTF8',
    '--data-checksums',
  ]
  const child = spawn(program, ['-D', dataArgument(cluster), '-U', SUPERUSER, ...options], {
    cwd: '/',
    env: serverEnvironment(),
    stdio: ['ignore', 'ignore', 'pipe', directory],
    timeout: INITDB_TIMEOUT_MS,
    ...cluster.user,
  })
  closeSync(directory)
  const [stderr, [code]] = await Promise.all([child.stderr ? text(child.stderr) : '', once(child, 'exit')])
  if (code !== 0) throw new StartError(`initdb did not succeed: ${stderr.trim().split('\n')[0] ?? `exit code ${code}`}`)
}

export interface Refusal {
  readonly reason: string
  /** It answers, and does not know the password: waiting will not help. */
  readonly isForGood: boolean
}

/** Why a database does not take us, or undefined when it does. */
export async function refusalOf(database: string | pg.ClientConfig): Promise<Refusal | undefined> {
  const config = typeof database === 'string' ? { connectionString: database } : database
  const client = new pg.Client({ ...config, connectionTimeoutMillis: CONNECT_TIMEOUT_MS })
  // A server that stops says so on a connection that is open; what is asked next fails anyway.
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.end()
    return undefined
  } catch (error) {
    if (!(error instanceof Error)) throw error
    const code = 'code' in error ? String(error.code) : ''
    return { reason: error.message || code, isForGood: code === INVALID_PASSWORD }
  }
}

async function waitForAnswer(config: pg.ClientConfig, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS
  for (;;) {
    const refusal = await refusalOf(config)
    if (!refusal) return
    if (refusal.isForGood || performance.now() > deadline) {
      throw new StartError(`the private PostgreSQL does not answer: ${refusal.reason}`)
    }
    await sleep(READY_POLL_MS, undefined, { signal })
  }
}

async function ensureDatabase(config: pg.ClientConfig, passwords: Passwords): Promise<void> {
  const client = new pg.Client(config)
  await client.connect()
  try {
    const { rowCount: roles } = await client.query('select from pg_roles where rolname = $1', [ROLE])
    const verb = roles ? 'alter' : 'create'
    await client.query(`${verb} role ${ROLE} login password ${client.escapeLiteral(passwords.role)}`)
    const { rowCount: databases } = await client.query('select from pg_database where datname = $1', [DATABASE])
    if (!databases) await client.query(`create database ${DATABASE} owner ${ROLE}`)
  } finally {
    await client.end()
  }
}
