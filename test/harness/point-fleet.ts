import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { describeTree, differences } from './archive.ts'
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
  /** What this agent alone sees as /etc/hosts. */
  readonly hosts?: string
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
    HOLDFAST_AGENT_TARGET_LOOPBACK: 'true',
    ...wish.environment,
  }
  const driver = fileSystem === 'btrfs' ? 'btrfs' : fileSystem === 'xfs' ? 'reflink' : 'copy'
  return {
    pool,
    backups,
    outside,
    wish: { name, driver, path: pool, environment, ...(wish.hosts === undefined ? {} : { hosts: wish.hosts }) },
  }
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
  get(id: string, options?: CallOptions): Promise<Shown>
  /** Deletes a point and waits until it is gone. */
  remove(id: string): Promise<void>
  /** A new dataset. @returns its directory on the host */
  dataset(name: string, host?: string): Promise<string>
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
      return { job, point: await user.get(told.id, options) }
    },
    async good(body, options) {
      const { point, job } = await user.make(body, options)
      t.is(point.status, 'good', JSON.stringify(job.error ?? point.problems))
      return point
    },
    get: async (id, options) => (await fleet.call('GET', `/api/v1/points/${id}`, undefined, options)).body,
    async remove(id) {
      const { body } = accepted(await fleet.call('DELETE', `/api/v1/points/${id}`))
      t.is((await fleet.ended(body.job_id, JOB_MS)).state, 'succeeded')
      t.is((await fleet.call('GET', `/api/v1/points/${id}`)).status, 404)
    },
    async dataset(name, host) {
      const { status, body } = await fleet.call('POST', '/api/v1/datasets', { name, host })
      t.is(status, 201, JSON.stringify(body))
      return body.mountpoint
    },
  }
  return user
}
const JOB_MS = 60_000

/** A tree as others' tools see it, without what file systems count differently: the links of a directory. */
export function treeOf(directory: string): string {
  return describeTree(directory).replace(/^(d \d+ \d+ \d+) \d+/gm, '$1 -')
}

export function sameTree(t: ExecutionContext, found: string, tree: string): void {
  t.deepEqual(differences(treeOf(found), tree), [])
}

/** Every path below a directory that work in progress or crashed work has left: names that say `partial`. */
export function litterIn(...directories: readonly string[]): readonly string[] {
  return directories.flatMap((directory) =>
    readdirSync(directory, { recursive: true })
      .map(String)
      .filter((path) => /partial|\.tmp|scratch/.test(path)),
  )
}

/** What stands in a pool and is neither a dataset of the fleet nor what the agent keeps for the next increment of a series. */
export async function straysOf(fleet: TestFleet, host: PointHost): Promise<readonly string[]> {
  const rows = await fleet.sql('select id from dataset')
  const known = new Set([...rows.map(({ id }) => id), ...ownBasesOf(fleet, host)])
  return readdirSync(join(host.pool, 'datasets')).filter((name) => !known.has(name))
}

/** Snapshots that an agent keeps for the next increment of a series, by its own notes; of all datasets, or of one. */
export function ownBasesOf(fleet: TestFleet, { wish }: PointHost, source?: string): readonly string[] {
  const state = wish.environment?.HOLDFAST_AGENT_STATE ?? fleet.state(wish.name)
  return ownClaims(state).flatMap(({ dataset, use }) =>
    use.kind === 'base' && (source === undefined || use.source === source) ? [dataset] : [],
  )
}

function ownClaims(state: string) {
  const claim = /^[0-9a-f-]{36}\.json$/
  const files = readdirSync(state, { recursive: true, withFileTypes: true }).filter(({ name }) => claim.test(name))
  return files.map(({ parentPath, name }): { dataset: string; use: { kind: string; source?: string } } =>
    JSON.parse(readFileSync(join(parentPath, name), 'utf8')),
  )
}

/** Nothing waits, and nothing is left of anything: no lane, no partial file, no snapshot, no scratch dataset. */
export async function tidy(t: ExecutionContext, fleet: TestFleet, host: PointHost): Promise<void> {
  await fleet.quiet(60_000)
  t.deepEqual(litterIn(host.backups, host.outside), [])
  t.deepEqual(await straysOf(fleet, host), [])
}

export function newDirectory(parent: string, name: string): string {
  const path = join(parent, name)
  if (existsSync(path)) throw new Error(`${path} is there already`)
  mkdirSync(path)
  return path
}
