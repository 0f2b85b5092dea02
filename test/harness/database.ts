import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import type { DataSource } from 'typeorm'
import { createDataSource, migrate } from '../../control-plane/db/data-source.ts'
import { createSql, type Sql } from '../../control-plane/db/sql.ts'
import { preparePrivatePostgres } from '../../deploy/postgres.ts'
import { postgresUser } from '../../deploy/server-user.ts'
import { TestProcess } from './process.ts'

const READY_MS = 60_000

/** A migrated Postgres of this test's own. */
export async function startDatabase(t: ExecutionContext): Promise<{ db: DataSource; sql: Sql; url: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-test-'))
  const prepared = await preparePrivatePostgres({ folder, logPath: join(folder, 'postgres.log'), user: postgresUser() })
  const postgres = new TestProcess(prepared.spec)
  postgres.start()
  await prepared.ready(AbortSignal.timeout(READY_MS))
  const db = createDataSource({ url: prepared.url, poolSize: 8 })
  await db.initialize()
  await migrate(db)
  t.teardown(async () => {
    await db.destroy()
    await postgres.stop()
    rmSync(folder, { recursive: true, force: true })
  })
  return { db, sql: createSql(db), url: prepared.url }
}
