import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { jwtAuthenticator, type NatsConnection } from 'nats'
import { createAuthority, newAuthority, readAuthority } from '../../control-plane/hosts/authority.ts'
import { connectNats } from '../../control-plane/nats.ts'
import { preparePrivateNats } from '../../deploy/nats.ts'
import { preparePrivatePostgres } from '../../deploy/postgres.ts'
import { postgresUser } from '../../deploy/server-user.ts'
import { findTool } from '../../deploy/tools.ts'
import { TestProcess } from './process.ts'

const READY_MS = 60_000

export interface Backends {
  /** A directory of this test's own, removed at its end. */
  readonly folder: string
  readonly databaseUrl: string
  readonly natsUrl: string
  /** By which control planes let agents in. */
  readonly authorityFile: string
  /** What every control plane of this test seals secrets with. */
  readonly secretsKey: string
  readonly postgres: TestProcess
  readonly nats: TestProcess
  /** Starts NATS or Postgres again after a test killed it, and waits until it answers. */
  restart(which: 'postgres' | 'nats'): Promise<void>
  readonly natsStore: string
}

/** A Postgres and a nats-server of this test's own, real and empty, gone when it ends. */
export async function startBackends(t: ExecutionContext): Promise<Backends> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-test-'))
  const natsFolder = join(folder, 'nats')
  const program = findTool('nats-server')
  if (program === undefined) throw new Error('nats-server is not installed')
  const authorityFile = await makeAuthority(natsFolder)
  const prepared = {
    postgres: await preparePrivatePostgres({
      folder: join(folder, 'postgres'),
      logPath: join(folder, 'postgres.log'),
      user: postgresUser(),
    }),
    nats: await preparePrivateNats({
      program,
      folder: natsFolder,
      logPath: join(folder, 'nats.log'),
    }),
  }
  const postgres = new TestProcess(prepared.postgres.spec)
  const nats = new TestProcess(prepared.nats.spec)
  t.teardown(async () => {
    await Promise.all([nats.signal('SIGKILL'), postgres.stop()])
    rmSync(folder, { recursive: true, force: true })
  })
  const restart = async (which: 'postgres' | 'nats') => {
    const process = which === 'postgres' ? postgres : nats
    process.start()
    await prepared[which].ready(AbortSignal.timeout(READY_MS))
  }
  await Promise.all([restart('postgres'), restart('nats')])
  return {
    folder,
    databaseUrl: prepared.postgres.url,
    natsUrl: prepared.nats.url,
    authorityFile,
    secretsKey: randomBytes(32).toString('base64'),
    postgres,
    nats,
    restart,
    natsStore: join(natsFolder, 'jetstream'),
  }
}

/** With all rights that the control plane has. */
export async function connectAsControlPlane(
  t: ExecutionContext,
  { natsUrl: url, authorityFile }: Pick<Backends, 'natsUrl' | 'authorityFile'>,
): Promise<NatsConnection> {
  const { jwt, seed } = await createAuthority(readAuthority(authorityFile)).fleetUser()
  const nats = await connectNats({ url, authenticator: jwtAuthenticator(jwt, seed) })
  t.teardown(() => nats.close())
  return nats
}

/** What `holdfast nats authority` does, without a process of its own. */
export async function makeAuthority(folder: string): Promise<string> {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const { keys, configuration } = await newAuthority()
  writeFileSync(join(folder, 'authority.conf'), configuration, { mode: 0o600 })
  writeFileSync(join(folder, 'authority.json'), JSON.stringify(keys), { mode: 0o600 })
  return join(folder, 'authority.json')
}
