import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { type AgentUser, ensureNatsUser, preparePrivateNats } from '../../deploy/nats.ts'
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
  readonly controlPlaneSeedFile: string
  seedFile(agent: string): string
  /** What every control plane of this test seals secrets with. */
  readonly secretsKey: string
  readonly postgres: TestProcess
  readonly nats: TestProcess
  /** Starts NATS or Postgres again after a test killed it, and waits until it answers. */
  restart(which: 'postgres' | 'nats'): Promise<void>
  readonly natsStore: string
}

/** A Postgres and a nats-server of this test's own, real and empty, gone when it ends. */
export async function startBackends(t: ExecutionContext, agents: readonly string[] = []): Promise<Backends> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-test-'))
  const natsFolder = join(folder, 'nats')
  const program = findTool('nats-server')
  if (program === undefined) throw new Error('nats-server is not installed')
  const keys = join(folder, 'keys')
  const controlPlane = ensureNatsUser(keys, 'control-plane')
  const users = agents.map((host): AgentUser => ({ host, ...ensureNatsUser(keys, host) }))
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
      controlPlane,
      agents: users,
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
    controlPlaneSeedFile: controlPlane.seedFile,
    secretsKey: randomBytes(32).toString('base64'),
    seedFile(agent) {
      const user = users.find((known) => known.host === agent)
      if (user === undefined) throw new Error(`no NATS user was made for '${agent}'`)
      return user.seedFile
    },
    postgres,
    nats,
    restart,
    natsStore: join(natsFolder, 'jetstream'),
  }
}
