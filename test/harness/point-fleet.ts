import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import type { AgentWish, Answer, TestFleet } from './fleet.ts'
import { type LoopFileSystem, mountLoop, temporaryDirectory } from './loop-mount.ts'
import type { FileScope } from './shared-fleet.ts'

/** Where an agent that makes points keeps what. */
export interface PointHost {
  readonly pool: string
  /** The backup root; it may be a file system of its own. */
  readonly backups: string
  /** Where points may be restored to outside of every dataset, and directories backed up from. */
  readonly outside: string
  readonly wish: AgentWish
}

export interface PointHostWish {
  readonly name?: string
  readonly poolBytes?: number
  readonly fileSystem?: LoopFileSystem
  readonly backups?: string
  readonly environment?: Readonly<Record<string, string>>
}

/** A host with a pool on a file system of its own, gone with `scope`. Needs root. */
export function pointHost(scope: FileScope, wish: PointHostWish = {}): PointHost {
  const { name = 'a', fileSystem = 'btrfs' } = wish
  const pool = mountLoop(scope, fileSystem, wish.poolBytes ?? 2 ** 30)
  const backups = wish.backups ?? temporaryDirectory(scope)
  const outside = temporaryDirectory(scope)
  const environment = {
    HOLDFAST_AGENT_BACKUP_ROOT: backups,
    HOLDFAST_AGENT_SOURCE_PATHS: `${outside}/`,
    HOLDFAST_AGENT_RESTORE_PATHS: `${outside}/`,
    HOLDFAST_AGENT_LOOPBACK_TARGETS: 'true',
    ...wish.environment,
  }
  const driver = fileSystem === 'btrfs' ? 'btrfs' : fileSystem === 'xfs' ? 'reflink' : 'copy'
  return { pool, backups, outside, wish: { name, driver, path: pool, environment } }
}

// biome-ignore lint/suspicious/noExplicitAny: points and jobs as the API shows them
type Shown = any

/** What a user does with points, each act waited for to its end. */
export interface PointUser {
  /** Asks for work. @returns its job, ended */
  work(path: string, body?: unknown, options?: CallOptions): Promise<Shown>
  /** The same, and it must succeed. */
  done(path: string, body?: unknown, options?: CallOptions): Promise<Shown>
  /** Asks for a point. @returns it and its job, both ended */
  make(body: object, options?: CallOptions): Promise<{ readonly point: Shown; readonly job: Shown }>
  /** The same, and it must be good. @returns the point */
  good(body: object, options?: CallOptions): Promise<Shown>
  get(id: string): Promise<Shown>
  /** Deletes a point and waits until it is gone. */
  remove(id: string): Promise<void>
  /** A new dataset. @returns its directory on the host */
  dataset(name: string): Promise<string>
}
type CallOptions = Parameters<TestFleet['call']>[3]

export function pointUser(t: ExecutionContext, fleet: TestFleet): PointUser {
  const accepted = (answer: Answer): Answer => {
    if (answer.status !== 202) throw new Error(`${answer.status}: ${JSON.stringify(answer.body)}`)
    return answer
  }
  const user: PointUser = {
    async work(path, body, options) {
      const { body: told } = accepted(await fleet.call('POST', `/api/v1/points${path}`, body, options))
      return fleet.ended(told.job_id, JOB_MS)
    },
    async done(path, body, options) {
      const job = await user.work(path, body, options)
      t.is(job.state, 'succeeded', JSON.stringify(job.error))
      return job
    },
    async make(body, options) {
      const { body: told } = accepted(await fleet.call('POST', '/api/v1/points', body, options))
      const job = await fleet.ended(told.job_id, JOB_MS)
      return { job, point: await user.get(told.id) }
    },
    async good(body, options) {
      const { point, job } = await user.make(body, options)
      t.is(point.status, 'good', JSON.stringify(job.error ?? point.problems))
      return point
    },
    get: async (id) => (await fleet.call('GET', `/api/v1/points/${id}`)).body,
    async remove(id) {
      const { body } = accepted(await fleet.call('DELETE', `/api/v1/points/${id}`))
      t.is((await fleet.ended(body.job_id, JOB_MS)).state, 'succeeded')
      t.is((await fleet.call('GET', `/api/v1/points/${id}`)).status, 404)
    },
    async dataset(name) {
      const { status, body } = await fleet.call('POST', '/api/v1/datasets', { name })
      t.is(status, 201, JSON.stringify(body))
      return body.mountpoint
    },
  }
  return user
}
const JOB_MS = 60_000

/** Every path below a directory that work in progress or crashed work has left: names that say `partial`. */
export function litterIn(...directories: readonly string[]): readonly string[] {
  return directories.flatMap((directory) =>
    readdirSync(directory, { recursive: true })
      .map(String)
      .filter((path) => /partial|\.tmp|scratch/.test(path)),
  )
}

/** What stands in a pool: so that two moments can be compared. */
export function datasetsOf({ pool }: PointHost): readonly string[] {
  return readdirSync(join(pool, 'datasets')).toSorted()
}

export function newDirectory(parent: string, name: string): string {
  const path = join(parent, name)
  if (existsSync(path)) throw new Error(`${path} is there already`)
  mkdirSync(path)
  return path
}
