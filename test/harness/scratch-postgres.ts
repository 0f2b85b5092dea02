import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { preparePrivatePostgres } from '../../deploy/postgres.ts'
import { postgresUser } from '../../deploy/server-user.ts'
import { TestProcess } from './process.ts'

const READY_MS = 60_000

/** A Postgres for one piece of work outside the tests; gone afterwards. */
export async function withScratchPostgres<Result>(work: (url: string) => Promise<Result>): Promise<Result> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-scratch-'))
  const { url, spec, ready } = await preparePrivatePostgres({
    folder: join(folder, 'postgres'),
    logPath: join(folder, 'postgres.log'),
    user: postgresUser(),
  })
  const postgres = new TestProcess(spec)
  try {
    postgres.start()
    await ready(AbortSignal.timeout(READY_MS))
    return await work(url)
  } finally {
    await postgres.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}
