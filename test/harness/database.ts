import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import type { DataSource } from 'typeorm'
import { createDataSource } from '../../control-plane/db/data-source.ts'
import { createSql, type Sql } from '../../control-plane/db/sql.ts'
import { createTestDatabase, prepareOwnPostgres } from './postgres.ts'
import { TestProcess } from './process.ts'

const READY_MS = 60_000

/**
 * A migrated database of this test's own.
 * @param isAlone the server is its own, too: for tests that do to it what others would not survive.
 */
export async function startDatabase(
  t: ExecutionContext,
  { isAlone = false }: { readonly isAlone?: boolean } = {},
): Promise<{ db: DataSource; sql: Sql; url: string }> {
  const url = isAlone ? await startAlone(t) : await createTestDatabase(t)
  const db = createDataSource({ url, poolSize: 8 })
  await db.initialize()
  t.teardown(() => db.destroy())
  return { db, sql: createSql(db), url }
}

async function startAlone(t: ExecutionContext): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-test-'))
  const prepared = await prepareOwnPostgres(join(folder, 'postgres'), join(folder, 'postgres.log'))
  const postgres = new TestProcess(prepared.spec)
  postgres.start()
  t.teardown(async () => {
    await postgres.stop()
    rmSync(folder, { recursive: true, force: true })
  })
  await prepared.ready(AbortSignal.timeout(READY_MS))
  return prepared.url
}
