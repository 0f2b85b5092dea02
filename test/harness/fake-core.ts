import { randomUUID } from 'node:crypto'
import { type AuditEntry, createAudit } from '../../control-plane/core/audit.ts'
import { type Caller, requireRole, visibleGroup } from '../../control-plane/core/caller.ts'
import { requireCondition } from '../../control-plane/core/condition.ts'
import type { Core } from '../../control-plane/core/core.ts'
import type { AcceptedDataset, Dataset, Datasets } from '../../control-plane/core/datasets.ts'
import type { Enrolments } from '../../control-plane/core/enrolments.ts'
import type { Feed, FeedEvent } from '../../control-plane/core/feed.ts'
import type { Host, Hosts } from '../../control-plane/core/hosts.ts'
import type { Job, Jobs } from '../../control-plane/core/jobs.ts'
import type { Sessions } from '../../control-plane/core/sessions.ts'
import type { RestoreSnapshot, Snapshots } from '../../control-plane/core/snapshots.ts'
import { FleetError } from '../../shared/errors.ts'
import type { JobKind } from '../../shared/job-spec.ts'
import { createFakeBlock } from './fake-block.ts'
import {
  createFakeCaptureControls,
  createFakeInstanceBackups,
  createFakeInstanceSnapshots,
  type FakeCaptureControls,
} from './fake-captures.ts'
import { createFakeDirectory } from './fake-directory.ts'
import { createFakeExportControls, createFakeExports, type FakeExportControls } from './fake-exports.ts'
import { createFakeInstanceControls, createFakeInstances, type FakeInstanceControls } from './fake-instances.ts'
import { createFakeMigrations } from './fake-migrations.ts'
import { createFakePointControls, createFakePoints, createFakeTargets, type FakePointControls } from './fake-points.ts'
import {
  createFakeRestoreTasks,
  createFakeScheduleControls,
  createFakeSchedules,
  type FakeScheduleControls,
} from './fake-schedules.ts'
import { createFakeStation } from './fake-station.ts'
import {
  createFakeVolumeBackupControls,
  createFakeVolumeBackups,
  type FakeVolumeBackupControls,
} from './fake-volume-backups.ts'
import { createFakeVolumeControls, createFakeVolumes, type FakeVolumeControls } from './fake-volumes.ts'

/** What a test arranges and looks at. */
export interface FakeControls
  extends FakePointControls,
    FakeInstanceControls,
    FakeCaptureControls,
    FakeScheduleControls,
    FakeVolumeControls,
    FakeVolumeBackupControls,
    FakeExportControls {
  /** The next settled job ends with this instead of success. */
  failNextJob: FleetError | undefined
  /** The next order is not accepted, for this reason. */
  refuseNext: Error | undefined
  restoreResult: unknown
  readonly restores: RestoreSnapshot[]
  readonly datasets: Map<string, Dataset>
  readonly jobs: Map<string, Job>
  publish(event: FakeEvent): FeedEvent
  /** Forgets events up to and including this one. */
  prune(seq: number): void
  /** What the audit was told. */
  readonly audited: AuditEntry[]
  /** How many clients `follow` now. */
  followers(): number
}

const CAPABILITIES = { cow: true, atomic: true, enforcesReadonly: true }
const AT = new Date('2026-01-02T03:04:05.678Z')
const PLACEHOLDER_ID = '01900000-0000-7000-8000-000000000000'

export const FAKE_HOST: Host = {
  id: '01900000-0000-7000-8000-00000000000a',
  name: 'host-a',
  state: 'online',
  draining: false,
  version: '0.1.0',
  slots: 4,
  restorePaths: ['/tmp/'],
  sourcePaths: ['/srv/'],
  backupRoot: '/backups',
  credentialExpiresAt: null,
  lastSeenAt: AT,
  instanceProblems: [],
  pools: [
    {
      id: '01900000-0000-7000-8000-00000000000b',
      name: 'tank',
      host: 'host-a',
      driver: 'sim',
      capabilities: CAPABILITIES,
      sizeBytes: 1000,
      freeBytes: 400,
    },
  ],
}

/**
 * A Core in memory, for tests of the http layer alone: what it does to names, ids and roles is right, what it knows of
 * hosts and lanes is nothing. Tests of behaviour run the real one.
 */
export function createFakeCore(): { readonly core: Core; readonly fake: FakeControls } {
  const { feed, ...feedControls } = createFakeFeed()
  const fake: FakeControls = {
    failNextJob: undefined,
    refuseNext: undefined,
    restoreResult: { type: 'file', inode: 123, fileSize: 1024, files: 1, bytes: 1024, cow: true },
    restores: [],
    datasets: new Map(),
    jobs: new Map(),
    audited: [],
    ...createFakePointControls(),
    ...createFakeInstanceControls(),
    ...createFakeCaptureControls(),
    ...createFakeScheduleControls(),
    ...createFakeVolumeControls(),
    ...createFakeVolumeBackupControls(),
    ...createFakeExportControls(),
    ...feedControls,
  }
  const orders = createFakeOrders(fake)
  fake.datasets.set('root', fakeDataset({ name: 'root', ordinal: 0 }))
  const datasets = createFakeDatasets(fake, orders)
  const instances = createFakeInstances(fake, orders.accept)
  const over = {
    volumes: createFakeVolumes(fake, orders.accept),
    volumeBackups: createFakeVolumeBackups(fake, orders.accept),
    exports: createFakeExports(fake, orders.accept),
    jobs: createFakeJobs(fake),
  }
  const core: Core = {
    datasets,
    snapshots: createFakeSnapshots(fake, orders, datasets),
    points: createFakePoints(fake, orders.accept),
    targets: createFakeTargets(fake),
    instances,
    migrations: createFakeMigrations(instances),
    instanceSnapshots: createFakeInstanceSnapshots(fake, orders.accept),
    instanceBackups: createFakeInstanceBackups(fake, orders.accept),
    ...over,
    ...createFakeBlock(fake, over),
    schedules: createFakeSchedules(fake, fake),
    restoreTasks: createFakeRestoreTasks(fake, fake),
    hosts: fakeHosts,
    enrolments: fakeEnrolments,
    feed,
    sessions: createFakeSessions(),
    station: createFakeStation(),
    ...createFakeDirectory(),
    audit: createAudit({
      reader: { list: async () => ({ items: [], nextCursor: null }) },
      record: (entry) => void fake.audited.push(entry),
    }),
  }
  return { core, fake }
}

function fakeDataset(given: Pick<Dataset, 'name' | 'ordinal'> & Partial<Dataset>): Dataset {
  return {
    id: randomUUID(),
    groupId: PLACEHOLDER_ID,
    isSnapshot: false,
    readonly: false,
    origin: null,
    state: 'available',
    host: 'host-a',
    pool: 'tank',
    driver: 'sim',
    capabilities: CAPABILITIES,
    rootInode: 256 + given.ordinal,
    mountpoint: `/tank/${given.name}`,
    consistency: 'crash',
    tags: {},
    createdAt: AT,
    version: 1,
    ...given,
  }
}

type Orders = ReturnType<typeof createFakeOrders>

function createFakeOrders(fake: FakeControls) {
  return {
    /** Runs `effect` at once and keeps the job that would have done it. */
    accept(caller: Caller, kind: JobKind, effect: () => unknown): { jobId: string } {
      requireRole(caller, 'operator')
      const refusal = fake.refuseNext
      fake.refuseNext = undefined
      if (refusal) throw refusal
      const failure = fake.failNextJob
      fake.failNextJob = undefined
      const result = failure ? null : effect()
      const id = randomUUID()
      const error = failure ? { code: failure.code, message: failure.message } : null
      fake.jobs.set(
        id,
        fakeJob({ id, kind, state: failure ? 'failed' : 'succeeded', result, error, createdBy: caller.subject }),
      )
      return { jobId: id }
    },
    find(name: string): Dataset {
      const dataset = fake.datasets.get(name)
      if (!dataset) throw new FleetError('not_found', `there is no dataset '${name}'`)
      return dataset
    },
    make(caller: Caller, kind: JobKind, given: Partial<Dataset> & { readonly name: string }): AcceptedDataset {
      const dataset = fakeDataset({ ordinal: fake.datasets.size, ...given })
      const { rootInode, mountpoint } = dataset
      const { jobId } = this.accept(caller, kind, () => {
        if (fake.datasets.has(given.name)) throw new FleetError('exists', `'${given.name}' exists already`)
        fake.datasets.set(given.name, dataset)
        return { rootInode, mountpoint, atomic: true, cow: true }
      })
      return {
        jobId,
        dataset: { ...dataset, state: 'creating', rootInode: 0, mountpoint: '', version: dataset.version - 1 },
      }
    },
  }
}

export function fakeJob(given: Partial<Job>): Job {
  return {
    id: PLACEHOLDER_ID,
    kind: 'dataset.create',
    spec: { kind: 'dataset.create', target: { pool: 'tank', dataset: PLACEHOLDER_ID } },
    state: 'running',
    host: 'host-a',
    attempt: 1,
    version: 'running.1.1.1',
    progress: null,
    phases: [],
    error: null,
    result: null,
    subject: null,
    retryOf: null,
    createdBy: 'test',
    createdAt: AT,
    startedAt: null,
    finishedAt: null,
    ...given,
  }
}

function createFakeDatasets(fake: FakeControls, orders: Orders): Datasets {
  return {
    async create(caller, { name, tags }) {
      return orders.make(caller, 'dataset.create', { name, tags: tags ?? {} })
    },
    async clone(caller, { source, name }) {
      orders.find(source)
      return orders.make(caller, 'dataset.clone', { name })
    },
    async delete(caller, { name, snapshotOnly, ifMatch }) {
      const dataset = orders.find(name)
      requireCondition(ifMatch, dataset)
      if (snapshotOnly && !dataset.isSnapshot) throw new FleetError('conflict', `'${name}' is not a snapshot`)
      if (name === 'root') throw new FleetError('conflict', "'root' cannot be deleted")
      const blockers = [...fake.datasets.values()].filter(({ tags }) => tags.needs === name).map((entry) => entry.name)
      if (blockers.length > 0) throw new FleetError('conflict', `'${name}' is needed`, { blockers })
      return orders.accept(caller, 'dataset.delete', () => {
        fake.datasets.delete(name)
        for (const other of fake.datasets.values()) {
          if (other.origin?.id !== dataset.id) continue
          fake.datasets.set(other.name, { ...other, origin: { ...other.origin, name: null } })
        }
      })
    },
    get: async (_caller, name) => orders.find(name),
    list: async (_caller, filter) =>
      [...fake.datasets.values()].filter(({ isSnapshot }) => isSnapshot || !filter?.snapshots),
  }
}

function createFakeSnapshots(fake: FakeControls, orders: Orders, datasets: Datasets): Snapshots {
  return {
    async create(caller, { source, name, readonly }) {
      const origin = await datasets.get(caller, source)
      return orders.make(caller, 'snapshot.create', { name, readonly, isSnapshot: true, origin })
    },
    async restore(caller, request) {
      const snapshot = orders.find(request.snapshot)
      if (!snapshot.isSnapshot) throw new FleetError('invalid', `'${request.snapshot}' is not a snapshot`)
      return orders.accept(caller, 'snapshot.restore', () => {
        fake.restores.push(request)
        return fake.restoreResult
      })
    },
  }
}

function createFakeJobs(fake: FakeControls): Jobs {
  function find(id: string): Job {
    const job = fake.jobs.get(id)
    if (!job) throw new FleetError('not_found', `there is no job ${id}`)
    return job
  }
  return {
    get: async (_caller, id) => find(id),
    async list(_caller, { state, kind }, { limit }) {
      const items = [...fake.jobs.values()].filter(
        (job) => (!state || state.includes(job.state)) && (!kind || job.kind === kind),
      )
      return { items: items.slice(0, limit), nextCursor: items.length > limit ? 'more' : null }
    },
    async cancel(_caller, id, ifMatch) {
      const job = find(id)
      requireCondition(ifMatch, job)
      if (job.finishedAt || job.state === 'succeeded') throw new FleetError('conflict', 'the job has ended')
      return { ...job, state: 'cancelling' }
    },
    async retry(_caller, id, ifMatch) {
      requireCondition(ifMatch, find(id))
      const job = { ...find(id), id: randomUUID(), retryOf: id }
      fake.jobs.set(job.id, job)
      return job
    },
    async settled(id) {
      const { error, result } = find(id)
      if (error) throw new FleetError(error.code, error.message)
      return result
    },
  }
}

const fakeHosts: Hosts = {
  list: async () => ({ items: [FAKE_HOST], nextCursor: null }),
  async get(_caller, idOrName) {
    if (idOrName === FAKE_HOST.id || idOrName === FAKE_HOST.name) return FAKE_HOST
    throw new FleetError('not_found', `there is no host '${idOrName}'`)
  },
  pools: async () => ({ items: FAKE_HOST.pools, nextCursor: null }),
  async pool(_caller, idOrName) {
    const pool = FAKE_HOST.pools.find(({ id, name }) => id === idOrName || name === idOrName)
    if (pool) return pool
    throw new FleetError('not_found', `there is no pool '${idOrName}'`)
  },
  drain: async (caller, idOrName, draining) => ({ ...(await fakeHosts.get(caller, idOrName)), draining }),
  async remove(caller, idOrName, { force }) {
    const { id, name } = await fakeHosts.get(caller, idOrName)
    if (!force) throw new FleetError('conflict', 'it still has datasets', { blockers: ['dataset root'] })
    return { host: { id, name }, failedJobs: 0, forgottenDatasets: 1, forgottenPoints: 0 }
  },
}

/** One token, `enrolment-token`, that is always good. */
const fakeEnrolments: Enrolments = {
  create: async (_caller, { name }) => ({
    enrolment: { id: PLACEHOLDER_ID, name, expiresAt: AT, replaces: name === FAKE_HOST.name },
    token: 'enrolment-token',
  }),
  async redeem({ token }) {
    if (token !== 'enrolment-token') throw new FleetError('unauthorized', 'the enrolment token is not known')
    return { host: FAKE_HOST, jwt: 'jwt', expiresAt: AT, natsUrls: ['nats://127.0.0.1:4222'], ca: undefined }
  },
  rotate: (caller, idOrName) => fakeHosts.get(caller, idOrName),
  revoke: (caller, idOrName) => fakeHosts.get(caller, idOrName),
}

/** Lets in whoever says `secret`; the eleventh time somebody does not, they are told to wait. */
function createFakeSessions(): Sessions {
  const open = new Map<string, string>()
  let failures = 0
  const named = (secret: string) => {
    const username = open.get(secret)
    if (username === undefined) throw new FleetError('unauthorized', 'there is no such session: log in')
    return username
  }
  return {
    async login({ username, password }) {
      if (failures >= 10) return { ok: false, retryAfterS: 42 }
      if (password !== 'secret') {
        failures += 1
        throw new FleetError('unauthorized', 'the username or the password is wrong')
      }
      const secret = randomUUID()
      open.set(secret, username)
      return { ok: true, secret, session: { username, isAdmin: username === 'admin', since: AT } }
    },
    async refresh(secret) {
      const username = named(secret)
      return { username, isAdmin: username === 'admin', since: AT }
    },
    async logout(secret) {
      const username = named(secret)
      open.delete(secret)
      return { username }
    },
  }
}

/** An event as a test tells it. */
export interface FakeEvent {
  readonly type: string
  readonly groupId?: string | null
  readonly jobId?: string | null
  readonly body?: object
}

/** A feed whose events the test makes. */
export function createFakeFeed() {
  const events: FeedEvent[] = []
  const wakers = new Set<(event: FeedEvent) => void>()
  let pruned = 0
  const head = () => events.length

  function visible(caller: Caller, since: number): readonly FeedEvent[] {
    if (since > head()) throw new FleetError('invalid', 'since: is ahead of the newest event', { field: 'since' })
    if (since < pruned) throw new FleetError('expired', 'events that old are no longer kept', { field: 'since' })
    return events
      .slice(since)
      .filter(({ groupId }) => visibleGroup(caller) === null || groupId === null || groupId === caller.groupId)
  }

  const untilWoken = (signal: AbortSignal) =>
    new Promise<void>((resolve) => {
      const done = () => {
        wakers.delete(done)
        resolve()
      }
      wakers.add(done)
      signal.addEventListener('abort', done)
      if (signal.aborted) done()
    })

  const feed: Feed = {
    head,
    async next({ caller, since, limit, signal }) {
      while (visible(caller, since).length === 0 && !signal.aborted) await untilWoken(signal)
      const page = visible(caller, since).slice(0, limit)
      return { events: page, cursor: page.at(-1)?.seq ?? since }
    },
    async follow({ caller, since, signal }, take) {
      const kept = visible(caller, since)
      if (kept.length > 0) await take(kept)
      const listener = (event: FeedEvent) => void take([event])
      wakers.add(listener)
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      wakers.delete(listener)
    },
  }
  return {
    feed,
    publish({ type, groupId = null, jobId = null, body }: FakeEvent): FeedEvent {
      const seq = head() + 1
      const json = JSON.stringify({ seq, type, at: AT.toISOString(), ...body })
      const event: FeedEvent = { seq, type, jobId, groupId, json }
      events.push(event)
      for (const wake of [...wakers]) wake(event)
      return event
    },
    prune(seq: number): void {
      pruned = seq
    },
    followers: () => wakers.size,
  }
}
