import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import pg from 'pg'
import { findPostgresFolders } from '../../deploy/tools.ts'
import { freePort, requireTool, setpriv } from './processes.ts'
import type { Workbench } from './workbench.ts'

const SUPERUSER = 'postgres'

/** As `npm start` runs it (deploy/postgres.ts); fsync and synchronous_commit are what the figures are about. */
const SETTINGS = [
  'listen_addresses=127.0.0.1',
  'unix_socket_directories=',
  'fsync=on',
  'synchronous_commit=on',
  'full_page_writes=on',
  'shared_buffers=64MB',
  'max_connections=100',
  'max_wal_size=512MB',
  'jit=off',
]

/** What statements cost, and the plans of one in fifty. */
const STATISTICS = [
  'shared_preload_libraries=pg_stat_statements,auto_explain',
  'pg_stat_statements.track_planning=on',
  'auto_explain.log_min_duration=0',
  'auto_explain.sample_rate=0.02',
  'auto_explain.log_analyze=on',
  'auto_explain.log_buffers=on',
  'auto_explain.log_triggers=on',
]
/** Times in milliseconds. */
const COSTLIEST = `select d.datname, s.calls, s.total_exec_time::int as total, s.mean_exec_time::numeric(10, 3) as mean,
    s.mean_plan_time::numeric(10, 3) as plan, s.rows, s.shared_blks_hit / greatest(s.calls, 1) as blocks, s.query
  from pg_stat_statements s
  join pg_database d on d.oid = s.dbid
  order by s.total_exec_time + s.total_plan_time desc
  limit 25`

export interface Postgres {
  /** Seconds of processor time, of all its processes that are there now. */
  cpuSeconds(): number
  /** A new, empty database. @returns its URL. */
  createDatabase(name: string): Promise<string>
}

/** A private server with its data in the scratch directory. */
export async function startPostgres(workbench: Workbench): Promise<Postgres> {
  const [programs] = findPostgresFolders()
  if (programs === undefined) throw new Error('PostgreSQL is not installed')
  const account = process.getuid?.() === 0 ? SUPERUSER : undefined
  const data = join(workbench.folder, 'postgres')
  const identity = account ? [`--reuid=${account}`, `--regid=${account}`, '--init-groups'] : []
  if (account) execFileSync(requireTool('install'), ['-d', '-o', account, '-m', '700', data])
  const initdb = [
    join(programs, 'initdb'),
    '-D',
    data,
    '-U',
    SUPERUSER,
    '--auth=trust',
    '--locale=C',
    '--encoding=UTF8',
  ]
  execFileSync(setpriv(), [...identity, '--', ...initdb, '--data-checksums'], { cwd: '/', stdio: 'ignore' })

  const port = await freePort()
  const server = workbench.start({
    name: 'postgres',
    command: join(programs, 'postgres'),
    args: [
      '-D',
      data,
      ...[...SETTINGS, ...(workbench.profileFolder ? STATISTICS : []), `port=${port}`].flatMap((setting) => [
        '-c',
        setting,
      ]),
    ],
    account,
    stopSignal: 'SIGINT',
  })
  const urlOf = (database: string) => `postgres://${SUPERUSER}@127.0.0.1:${port}/${database}`
  await server.until(async () => {
    await run(urlOf('postgres'), ['select 1'])
    return true
  })
  if (workbench.profileFolder) await keepStatistics(workbench, workbench.profileFolder, urlOf('postgres'))
  return {
    cpuSeconds: () => server.treeCpuSeconds(),
    async createDatabase(name) {
      await run(urlOf('postgres'), [`create database ${pg.escapeIdentifier(name)}`])
      return urlOf(name)
    },
  }
}

/** Writes down, at the end, which statements cost most. */
async function keepStatistics(workbench: Workbench, folder: string, url: string): Promise<void> {
  await run(url, ['create extension pg_stat_statements'])
  workbench.defer(async () => {
    const rows = await run(url, [COSTLIEST])
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'statements.json'), JSON.stringify(rows, undefined, 1))
    copyFileSync(join(workbench.folder, 'postgres.log'), join(folder, 'plans.log'))
  })
}

/** Runs statements one by one on a connection of their own. @returns the last one's rows. */
export async function run(url: string, statements: readonly string[]): Promise<readonly unknown[]> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => undefined)
  await client.connect()
  try {
    let rows: readonly unknown[] = []
    for (const statement of statements) rows = (await client.query(statement)).rows
    return rows
  } finally {
    await client.end()
  }
}

/** A private JetStream server. @returns its URL. */
export async function startNats(workbench: Workbench, name = 'nats'): Promise<string> {
  return (await startNatsServer(workbench, name)).url
}

export async function startNatsServer(workbench: Workbench, name = 'nats') {
  const port = await freePort()
  const server = workbench.start({
    name,
    command: requireTool('nats-server'),
    args: ['--addr', '127.0.0.1', '--port', String(port), '--jetstream', '--store_dir', join(workbench.folder, name)],
    stopSignal: 'SIGINT',
  })
  await server.until(() => accepts(port))
  return { url: `nats://127.0.0.1:${port}`, process: server }
}

export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: '127.0.0.1' })
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}
