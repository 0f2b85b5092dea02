import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { ExecutionContext } from 'ava'
import pg from 'pg'
import { type PrivatePostgres, preparePrivatePostgres } from '../../deploy/postgres.ts'
import { postgresUser } from '../../deploy/server-user.ts'
import { postgresTemplate, withoutSync } from './postgres-template.ts'
import { TestProcess } from './process.ts'
import { shortLived } from './short-lived.ts'

const READY_MS = 60_000
/** All tests of a file may run at once. */
const MANY_CONNECTIONS = ['-c', 'max_connections=500']

const execute = promisify(execFile)
let shared: Promise<string> | undefined

/**
 * A migrated database of this test's own, gone when it ends, in a server that all tests of a file share: one that each starts, and whose
 * cluster it makes, costs nearly two seconds of processor time. @returns its URL.
 */
export async function createTestDatabase(t: Pick<ExecutionContext, 'teardown'>): Promise<string> {
  shared ??= startShared()
  const url = new URL(await shared)
  const template = url.pathname.slice(1)
  const name = `test_${randomBytes(6).toString('hex')}`
  await onServer(url, `create database ${name} template ${template} strategy file_copy`)
  t.teardown(() => onServer(url, `drop database if exists ${name} with (force)`))
  return new URL(`/${name}`, url).href
}

/** A server of a test's own, with its cluster in `folder`, for those that kill it or look into its files. */
export async function prepareOwnPostgres(folder: string, logPath: string): Promise<PrivatePostgres> {
  mkdirSync(folder, { recursive: true })
  // Segments of the log are mostly zeros.
  await execute('cp', ['-a', '--sparse=always', '--reflink=auto', `${await postgresTemplate()}/.`, folder])
  return withoutSync(await preparePrivatePostgres({ folder, logPath, user: postgresUser() }))
}

/** @returns the URL of the database that others are copied from. */
async function startShared(): Promise<string> {
  const postgres: { process?: TestProcess } = {}
  const folder = shortLived('holdfast-postgres', () => postgres.process?.endNow('SIGQUIT'))
  const { spec, url, ready } = await prepareOwnPostgres(join(folder, 'cluster'), join(folder, 'postgres.log'))
  postgres.process = new TestProcess({ ...spec, args: [...spec.args, ...MANY_CONNECTIONS] })
  postgres.process.start()
  postgres.process.unref()
  await ready(AbortSignal.timeout(READY_MS))
  return url
}

async function onServer(url: URL, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: new URL('/postgres', url).href })
  await client.connect()
  await client.query(statement).finally(() => client.end())
}
