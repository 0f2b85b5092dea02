import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import pg from 'pg'
import { lacksServers, testUnless } from '../test/harness/system-packages.ts'
import { preparePrivatePostgres } from './postgres.ts'
import { postgresUser } from './server-user.ts'
import { SupervisedProcess } from './supervised-process.ts'
import { findTool } from './tools.ts'

/** As root below a home of mode 700, which user postgres cannot enter: the usual place of a root's checkout. */
function privateFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(process.getuid?.() === 0 ? homedir() : tmpdir(), 'holdfast-postgres-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

async function startPostgres(folder: string) {
  const postgres = await preparePrivatePostgres({
    folder: join(folder, 'postgres'),
    logPath: join(folder, 'postgres.log'),
    user: postgresUser(),
  })
  const server = new SupervisedProcess(postgres.spec, {
    deathSignalTool: findTool('setpriv'),
    onSpawn() {},
    onExit() {},
  })
  try {
    await postgres.ready(AbortSignal.timeout(30_000))
  } catch (error) {
    await server.stop()
    throw error
  }
  return { url: postgres.url, server }
}

async function query(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { rows } = await client.query<unknown[]>({ text: sql, rowMode: 'array' })
    return rows.flat()
  } finally {
    await client.end()
  }
}

testUnless(lacksServers())('a private cluster keeps its data over stop, crash and start', async (t) => {
  const folder = privateFolder(t)
  // What an interrupted first start leaves.
  mkdirSync(join(folder, 'postgres', 'data.partial'), { recursive: true })

  const first = await startPostgres(folder)
  await query(first.url, 'create table kept (word text)')
  await query(first.url, `insert into kept values ('one')`)
  t.deepEqual(await query(first.url, 'select rolsuper from pg_roles where rolname = current_user'), [false])
  t.deepEqual(await query(first.url, `select current_setting('fsync') || current_setting('synchronous_commit')`), [
    'onon',
  ])
  await t.throwsAsync(query(first.url.replace(/:[^:@]+@/, ':wrong@'), 'select 1'), { message: /password/ })
  await first.server.stop()
  t.is(statSync(join(folder, 'postgres', 'data')).mode & 0o777, 0o700)

  const second = await startPostgres(folder)
  await query(second.url, `insert into kept values ('two')`)
  process.kill(second.server.pid ?? 0, 'SIGKILL')
  await second.server.stop()

  const third = await startPostgres(folder)
  t.deepEqual(await query(third.url, 'select word from kept order by word'), ['one', 'two'])
  await third.server.stop()
})
