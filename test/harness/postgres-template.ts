import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import pg from 'pg'
import { type PrivatePostgres, preparePrivatePostgres } from '../../deploy/postgres.ts'
import { postgresUser } from '../../deploy/server-user.ts'
import { findPostgresFolders } from '../../deploy/tools.ts'
import { TestProcess } from './process.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const CACHE = join(ROOT, 'node_modules/.cache/holdfast-postgres')
/** What a migrated cluster is made of. */
const INGREDIENTS = [
  'control-plane/db/migrations',
  'control-plane/db/data-source.ts',
  'deploy/postgres.ts',
  'test/harness/postgres-template.ts',
]
const READY_MS = 60_000
/** One of other migrations that nobody has made for so long is in nobody's way. */
const STALE_MS = 24 * 3_600_000

/** No test takes the machine's power away: what a server that is killed has written, the kernel still has. */
const WITHOUT_SYNC = ['-c', 'fsync=off', '-c', 'full_page_writes=off']

export function withoutSync(prepared: PrivatePostgres): PrivatePostgres {
  const { spec } = prepared
  return { ...prepared, spec: { ...spec, args: [...spec.args, ...WITHOUT_SYNC] } }
}

/**
 * The directory of a migrated cluster that is copied and never started, as `preparePrivatePostgres` would find it. It is made once for
 * each state of the migrations, and kept between runs. Its role may make databases.
 */
export async function postgresTemplate(): Promise<string> {
  const kept = join(CACHE, digest())
  if (existsSync(kept)) return kept
  mkdirSync(CACHE, { recursive: true })
  const partial = mkdtempSync(join(CACHE, 'partial-'))
  const folder = join(partial, 'cluster')
  await make(folder, join(partial, 'postgres.log'))
  rmSync(join(folder, 'port.json'))
  try {
    renameSync(folder, kept)
  } catch (error) {
    // Another process was first.
    if (!existsSync(kept)) throw error
  }
  rmSync(partial, { recursive: true, force: true })
  removeOthers(kept)
  return kept
}

async function make(folder: string, logPath: string): Promise<void> {
  const prepared = withoutSync(await preparePrivatePostgres({ folder, logPath, user: postgresUser() }))
  const postgres = new TestProcess(prepared.spec)
  postgres.start()
  try {
    await prepared.ready(AbortSignal.timeout(READY_MS))
    // Most tests never load it.
    const { createDataSource, migrate } = await import('../../control-plane/db/data-source.ts')
    const db = createDataSource({ url: prepared.url, poolSize: 4 })
    await db.initialize()
    await migrate(db).finally(() => db.destroy())
    await letMakeDatabases(folder, new URL(prepared.url))
  } finally {
    await postgres.stop()
  }
}

async function letMakeDatabases(folder: string, { hostname: host, port, username }: URL): Promise<void> {
  // as: deploy/postgres.ts wrote it
  const kept = JSON.parse(readFileSync(join(folder, 'passwords.json'), 'utf8')) as { readonly superuser: string }
  const superuser = { user: 'postgres', password: kept.superuser, database: 'postgres' }
  const client = new pg.Client({ host, port: Number(port), ...superuser })
  await client.connect()
  await client.query(`alter role ${username} createdb`).finally(() => client.end())
}

function removeOthers(kept: string): void {
  for (const name of readdirSync(CACHE)) {
    const path = join(CACHE, name)
    const madeMs = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()
    if (path !== kept && Date.now() - madeMs > STALE_MS) rmSync(path, { recursive: true, force: true })
  }
}

function digest(): string {
  const hash = createHash('sha256').update(`${findPostgresFolders()[0]} ${process.getuid?.()}`)
  for (const path of INGREDIENTS.map((name) => join(ROOT, name))) {
    const files = statSync(path).isDirectory() ? readdirSync(path).map((name) => join(path, name)) : [path]
    for (const file of files.toSorted()) hash.update(readFileSync(file))
  }
  return hash.digest('hex').slice(0, 16)
}
