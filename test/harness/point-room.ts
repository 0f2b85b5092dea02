import { randomBytes } from 'node:crypto'
import { bech32 } from '@scure/base'
import type { ExecutionContext } from 'ava'
import type { NatsConnection } from 'nats'
import { type Caller, DEFAULT_GROUP_ID, fleetCaller } from '../../control-plane/core/caller.ts'
import { createDatasets } from '../../control-plane/core/datasets.ts'
import { createGroups } from '../../control-plane/core/groups.ts'
import { createInstances } from '../../control-plane/core/instance-orders.ts'
import { applyReports } from '../../control-plane/core/job-change.ts'
import { createJobs } from '../../control-plane/core/jobs.ts'
import { createRoots } from '../../control-plane/core/roots.ts'
import { createSnapshots } from '../../control-plane/core/snapshots.ts'
import { createDataSource, migrate } from '../../control-plane/db/data-source.ts'
import { createSql, type Sql } from '../../control-plane/db/sql.ts'
import { createChangeStore } from '../../control-plane/db/stores/change-store.ts'
import { createDatasetStore } from '../../control-plane/db/stores/dataset-store.ts'
import { createDispatchStore } from '../../control-plane/db/stores/dispatch-store.ts'
import { createExportSecrets } from '../../control-plane/db/stores/export-store.ts'
import { createGroupStore } from '../../control-plane/db/stores/group-store.ts'
import { createHostStore } from '../../control-plane/db/stores/host-store.ts'
import { createInstanceStore } from '../../control-plane/db/stores/instance-store.ts'
import { createJobStore } from '../../control-plane/db/stores/job-store.ts'
import { createOrderStore } from '../../control-plane/db/stores/order-store.ts'
import { createRemovalStore } from '../../control-plane/db/stores/removal-store.ts'
import { secretRows } from '../../control-plane/db/stores/secret-store.ts'
import { createHostRegistry } from '../../control-plane/hosts/registry.ts'
import { createRemoval } from '../../control-plane/hosts/removal.ts'
import { createDispatch } from '../../control-plane/jobs/dispatch.ts'
import { createEnds } from '../../control-plane/jobs/ends.ts'
import { createOrderBook } from '../../control-plane/jobs/order-book.ts'
import { createOrderSecrets } from '../../control-plane/jobs/order-secrets.ts'
import { ensureStreams } from '../../control-plane/nats.ts'
import { openCaptures } from '../../control-plane/open-captures.ts'
import { openPoints } from '../../control-plane/open-points.ts'
import { openVolumeBackups } from '../../control-plane/open-volume-backups.ts'
import { openVolumes } from '../../control-plane/open-volumes.ts'
import { createHostSeal } from '../../control-plane/secrets/host-seal.ts'
import { parseKeyring } from '../../control-plane/secrets/keyring.ts'
import { createSecrets } from '../../control-plane/secrets/secrets.ts'
import { createVault } from '../../control-plane/secrets/vault.ts'
import { newId } from '../../shared/ids.ts'
import type { JobEvent } from '../../shared/job-event.ts'
import { createLogger } from '../../shared/logger.ts'
import type { PointMade } from '../../shared/point-spec.ts'
import { newBoxKeys } from '../../shared/sealed-box.ts'
import { WIRE_VERSION, WorkMessage, type WorkOrder } from '../../shared/wire/messages.ts'
import type { HostRead } from '../../shared/wire/reads.ts'
import { subjects } from '../../shared/wire/subjects.ts'
import { connectAsControlPlane, startBackends } from './backends.ts'
import { until } from './until.ts'

/** An admin of the fleet, acting for the default group. */
export const ADMIN = fleetCaller({ subject: 'test', role: 'admin', via: 'system' })
export const OPERATOR: Caller = { ...ADMIN, role: 'operator', fleetRole: null }

const CAPABILITIES = { cow: true, atomic: true, enforcesReadonly: true }

export const MADE: PointMade = {
  full: true,
  fullReason: null,
  synthetic: false,
  members: 10,
  sourceBytes: 1000,
  storedBytes: 400,
  consistency: 'crash',
  encrypted: false,
  problemCount: 0,
  problems: [],
}

export type PointRoom = Awaited<ReturnType<typeof openPointRoom>>

/**
 * The control plane's core, with real Postgres and NATS, and hosts `a`, `b` (with backup roots) and `bare` (without, and never
 * enrolled) of which nobody runs: tests say what their agents would.
 */
export async function openPointRoom(t: Pick<ExecutionContext, 'teardown'>) {
  const backends = await startBackends(t)
  const db = createDataSource({ url: backends.databaseUrl, poolSize: 8 })
  await db.initialize()
  t.teardown(() => db.destroy())
  await migrate(db)
  const sql = createSql(db)
  const nats = await connectAsControlPlane(t, backends)
  await ensureStreams(nats)
  const vault = createVault(parseKeyring(backends.secretsKey))
  const hosts = createHostStore(sql)
  // Its clock stands still: who was heard once stays, until a test says otherwise.
  const openedMs = Date.now()
  const registry = createHostRegistry(() => openedMs)
  const keys = newBoxKeys()

  async function arrive(name: string, given: { readonly backupRoot: string | null; readonly isEnrolled: boolean }) {
    const inventory = {
      version: '1',
      slots: 4,
      pools: [
        { name: `${name}-pool`, driver: 'sim' as const, capabilities: CAPABILITIES, sizeBytes: 100, freeBytes: 50 },
      ],
      restorePaths: ['/tmp/'],
      sourcePaths: ['/srv/data/'],
      backupRoot: given.backupRoot,
    }
    await hosts.welcome({ name, hash: name, inventory, isOpen: true })
    await hosts.setState([name], 'online')
    if (given.isEnrolled) await db.query('update host set seal_public_key = $2 where name = $1', [name, keys.publicKey])
    const kept = await hosts.find(name)
    if (kept) registry.keep(kept)
    registry.heard(name)
  }
  await arrive('a', { backupRoot: '/backups', isEnrolled: true })
  await arrive('b', { backupRoot: '/backups', isEnrolled: true })
  await arrive('bare', { backupRoot: null, isEnrolled: false })

  const plane = (given: { readonly sql?: Sql } = {}) => openPlane({ sql, nats, vault, registry, hosts, ...given })
  const first = plane()
  const { changes } = first

  /** What the agent of a job reports last. */
  async function end(jobId: string, event: Ending): Promise<void> {
    await tell(jobId, { seq: 9, at: 0, phases: [], ...event })
  }

  async function tell(jobId: string, event: JobEvent): Promise<void> {
    first.committed(
      await changes.change([jobId], (job) =>
        applyReports(job, [{ host: job.host, report: { jobId, attempt: job.attempt, delivery: 1, events: [event] } }]),
      ),
    )
  }

  // Else everybody would wait for it.
  await first.roots.ensure(DEFAULT_GROUP_ID)
  const [root] = await db.query('select id from job')
  await end(root.id, { type: 'succeed', result: { rootInode: 256, mountpoint: '/pool/root', atomic: true, cow: true } })

  return {
    ...first,
    /** Another replica, by a database that may fail. */
    plane,
    db,
    sql,
    vault,
    nats,
    hosts,
    registry,
    keys,
    end,
    tell,
    succeed: (jobId: string, result: unknown = {}) => end(jobId, { type: 'succeed', result }),
    fail: (jobId: string, error: Extract<JobEvent, { type: 'fail' }>['error']) => end(jobId, { type: 'fail', error }),
    /** A dataset that is there, on host `a` unless another is named. */
    async dataset(name: string, host = 'a', caller: Caller = ADMIN) {
      const { jobId } = await first.datasets.create(caller, { name, host })
      await end(jobId, {
        type: 'succeed',
        result: { rootInode: 256, mountpoint: `/pool/${name}`, atomic: true, cow: true },
      })
    },
    /** A point of that dataset that has been made. */
    async point(dataset: string, given: { readonly target?: string; readonly incremental?: boolean } = {}, made = {}) {
      const { jobId, point } = await first.points.create(ADMIN, { source: { dataset }, ...given })
      const full = point.chain.length === 0
      await end(jobId, { type: 'succeed', result: { ...MADE, full, ...made } })
      return first.points.get(ADMIN, point.id)
    },
    /** The order as its host finds it. */
    async sent(jobId: string, host = 'a'): Promise<WorkOrder> {
      return until(`job ${jobId} is sent`, () => first.sentTo(host).find((order) => order.jobId === jobId))
    },
    /** Answers one kind of read of a host from now on. */
    async answers(
      host: string,
      operation: HostRead,
      answer: (question: { id: string; body: unknown; secret?: string }) => object,
    ) {
      const subscription = nats.subscribe(subjects.read(host, operation), {
        callback: (_error, message) => {
          message.respond(JSON.stringify({ v: WIRE_VERSION, ...answer(message.json()) }))
        },
      })
      await nats.flush()
      return subscription
    },
    groups: () => createGroups({ store: createGroupStore(sql, { externalIdentity: false }), discard: () => undefined }),
    removal: () =>
      createRemoval({
        store: createRemovalStore(sql),
        changes,
        afterCommit: first.committed,
        enforce: async () => undefined,
      }),
    tenant: (groupId: string): Caller => ({ ...OPERATOR, groupId }),
    async group(name: string) {
      const id = newId()
      await db.query('insert into user_group (id, name) values ($1, $2)', [id, name])
      return id
    },
    groupId: DEFAULT_GROUP_ID,
    unguessable: () => randomBytes(12).toString('hex'),
  }
}

type Ending =
  | Pick<Extract<JobEvent, { type: 'succeed' }>, 'type' | 'result'>
  | Pick<Extract<JobEvent, { type: 'fail' }>, 'type' | 'error'>

function openPlane(deps: {
  readonly sql: ReturnType<typeof createSql>
  readonly nats: NatsConnection
  readonly vault: ReturnType<typeof createVault>
  readonly registry: ReturnType<typeof createHostRegistry>
  readonly hosts: ReturnType<typeof createHostStore>
}) {
  const { sql, nats, vault, registry, hosts } = deps
  const logger = createLogger('test', 'error')
  const changes = createChangeStore(sql, newId())
  const seal = createHostSeal(hosts.sealKey)
  const secrets = createSecrets({ rows: secretRows(sql), vault })
  const ends = createEnds()
  const orderedTo = new Map<string, WorkOrder[]>()
  const watching = nats.subscribe(subjects.allWork, {
    callback: (_error, message) => {
      const host = message.subject.split('.')[3] ?? ''
      orderedTo.set(host, [...(orderedTo.get(host) ?? []), ...WorkMessage.parse(message.json()).orders])
    },
  })
  const dispatch = createDispatch({
    store: createDispatchStore(sql),
    nats,
    secrets: createOrderSecrets({
      ...{ secrets, seal, changes, afterCommit: committed },
      exports: createExportSecrets(sql, secrets),
    }),
    logger,
  })
  function committed({ waiting }: { readonly waiting: boolean }): void {
    if (waiting) dispatch.wake()
  }
  const orders = createOrderBook({ store: createOrderStore(sql), changes, dispatch })
  const reader = createDatasetStore(sql)
  const roots = createRoots({ orders, reader, fleet: registry })
  const datasets = createDatasets({ orders, reader, fleet: registry, roots })
  const snapshots = createSnapshots({ orders, fleet: registry, roots })
  const instanceReader = createInstanceStore(sql)
  const instances = createInstances({ orders, reader: instanceReader, fleet: registry })
  const { points, targets } = openPoints({ sql, vault, nats, seal, orders, fleet: registry, instances: instanceReader })
  const { volumes, exports } = openVolumes({
    ...{ sql, vault, secrets, nats, seal, changes, dispatch, fleet: registry, logger },
  })
  const { volumeBackups, tick: volumeBackupTick } = openVolumeBackups({ sql, points, targets, volumes, logger })
  const captures = openCaptures({
    ...{ sql, nats, seal, changes, dispatch, points, targets, volumeBackups, instances: instanceReader },
    ...{ fleet: registry, logger },
  })
  const jobs = createJobs({
    ...{ reader: createJobStore(sql), ends, datasets, snapshots, points, instances, volumes, exports },
    instanceSnapshots: captures.instanceSnapshots,
    knowsHost: async () => true,
    change: async (id, decide) => committed(await changes.change([id], decide)),
  })
  return {
    changes,
    committed,
    dispatch,
    orders,
    roots,
    datasets,
    points,
    targets,
    instances,
    captures: { ...captures, volumeBackups, volumeBackupTick },
    volumes,
    exports,
    jobs,
    secrets,
    /** Every order that was published for a host, by whichever replica, since this one is there. */
    sentTo: (host: string): readonly WorkOrder[] => orderedTo.get(host) ?? [],
    watching,
  }
}

/** A pair as `age-keygen` makes one. */
export function newAgeKeys() {
  const { publicKey, privateKey } = newBoxKeys()
  const text = (prefix: string, key: Buffer) => bech32.encode(prefix, bech32.toWords(key), false)
  return { recipient: text('age', publicKey), identity: text('age-secret-key-', privateKey).toUpperCase() }
}
