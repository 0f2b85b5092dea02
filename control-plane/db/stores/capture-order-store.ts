import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { CaptureFindings, CaptureOrder, CapturePlan, StandingPart } from '../../core/instance-capture-book.ts'
import { type Sql, sqlState, statement, type Transaction } from '../sql.ts'
import { writeAudit } from './audit-write.ts'
import { DATASET_COLUMNS, DATASET_JOINS, DatasetRow } from './dataset-columns.ts'
import { SNAPSHOT_OF_INSTANCE_COLUMNS, SnapshotOfInstanceRow } from './instance-snapshot-columns.ts'
import { instancesOf } from './order-instances.ts'
import { type Placed, writeOrders } from './order-store.ts'
import { keepPlaced, placedBefore } from './placed-before.ts'
import { VOLUME_COLUMNS, VOLUME_JOINS, VolumeColumns } from './volume-columns.ts'
import { lockVolumes } from './volume-findings.ts'

const lockDatasets = statement(
  'capture_lock_datasets',
  DatasetRow,
  `select ${DATASET_COLUMNS}
   from dataset d ${DATASET_JOINS}
   where d.id = any($1::uuid[])
   order by d.id
   for update of d`,
)

const lockSnapshot = statement(
  'capture_lock_snapshot',
  z.object({ id: z.string() }),
  'select id from instance_snapshot where id = $1 for update',
)

const snapshotOf = statement(
  'capture_snapshot',
  SnapshotOfInstanceRow,
  `select ${SNAPSHOT_OF_INSTANCE_COLUMNS} from instance_snapshot s where s.id = $1`,
)

const attached = statement(
  'capture_attached_volumes',
  VolumeColumns,
  `select ${VOLUME_COLUMNS}
   from volume v ${VOLUME_JOINS}
   where v.id in (select volume_id from volume_attachment where instance_id = $1 and state <> 'reserved')
   order by v.path`,
)

const disksOf = statement(
  'capture_disks',
  z.object({ mountpoint: z.string() }),
  'select mountpoint from volume_attachment where instance_id = $1 and is_disk and mountpoint is not null',
)

const volumesOf = statement(
  'capture_part_volumes',
  VolumeColumns,
  `select ${VOLUME_COLUMNS}
   from volume v ${VOLUME_JOINS}
   where v.id in (select s.volume_id from volume_snapshot s where s.id = any($1::uuid[]))`,
)

const volumeSnapshotsOf = statement(
  'capture_part_snapshots',
  z.object({
    id: z.string(),
    name: z.string(),
    state: z.enum(['creating', 'available', 'deleting']),
    volume_id: z.string(),
    clones: z.array(z.string()),
  }),
  `select s.id, s.name, s.state, s.volume_id,
     array(select c.path from volume c where c.origin_volume = v.path and c.origin = s.path and c.state <> 'deleting' order by c.path limit 100)
       as clones
   from volume_snapshot s
   join volume v on v.id = s.volume_id
   where s.id = any($1::uuid[])`,
)

/** First, as what is made for it names it. */
const insertSnapshot = statement(
  'capture_insert',
  z.unknown(),
  `with made as (
     insert into instance_snapshot (id, group_id, name, instance_id, instance_type, instance_name, host, status, left_out, job_id)
     values ($1, $2, $3, $4, $5, $6, $7, 'creating', $8, $9)
     returning id
   )
   insert into instance_snapshot_part (snapshot_id, n, kind, part_id, source_id, size_bytes, status)
   select made.id, p.n, p.kind, p.id, p.source_id, p.size_bytes, 'creating'
   from made, jsonb_to_recordset($10::jsonb) as p(n integer, kind text, id uuid, source_id uuid, size_bytes bigint)`,
)

const insertRows = statement(
  'capture_insert_rows',
  z.object({ id: z.string() }),
  `with datasets as (
     insert into dataset (id, ordinal, group_id, pool_id, kind, name, is_snapshot, readonly, origin_id, origin_ordinal, state, tags,
       instance_snapshot_id)
     select id, nextval('dataset_ordinal'), $1, pool_id, 'filesystem', name, true, true, origin_id, origin_ordinal, 'creating', '{}', $2
     from jsonb_to_recordset($3::jsonb) as d(n integer, id uuid, pool_id uuid, name text, origin_id uuid, origin_ordinal bigint)
     order by n
     on conflict do nothing
     returning id
   ), snapshots as (
     insert into volume_snapshot (id, group_id, volume_id, name, path, size_bytes, state, instance_snapshot_id)
     select id, $1, volume_id, name, path, size_bytes, 'creating', $2
     from jsonb_to_recordset($4::jsonb) as v(id uuid, volume_id uuid, name text, path text, size_bytes bigint)
     on conflict do nothing
     returning id
   )
   select id from datasets union all select id from snapshots`,
)

const markRemoved = statement(
  'capture_mark_removed',
  z.unknown(),
  `with datasets as (
     update dataset set state = 'deleting', version = version + 1 where id = any($3::uuid[])
   ), snapshots as (
     update volume_snapshot set state = 'deleting', version = version + 1 where id = any($3::uuid[])
   ), parts as (
     update instance_snapshot_part set status = 'deleting' where snapshot_id = $1 and part_id = any($3::uuid[])
   )
   update instance_snapshot
   set status = 'deleting', fail_reason = null, job_id = $2, version = version + 1, updated_at = now()
   where id = $1`,
)

const remove = statement('capture_remove', z.unknown(), 'delete from instance_snapshot where id = $1')

export interface PlacedCapture {
  readonly placed: Placed | undefined
  readonly jobId: string | undefined
}

export interface CaptureOrderStore {
  /** Decides and writes in one transaction. @throws what `decide` throws; conflict when its group, host or pool went in that moment. */
  place(order: CaptureOrder, notAfterMs: number): Promise<PlacedCapture>
}

/** The group, the host or the pool that an order was decided for went in that very moment. */
const FOREIGN_KEY_VIOLATION = '23503'

export function createCaptureOrderStore(sql: Sql): CaptureOrderStore {
  return {
    async place(order, notAfterMs) {
      try {
        return await sql.transaction((tx) => placeIn(tx, order, notAfterMs))
      } catch (error) {
        if (sqlState(error) !== FOREIGN_KEY_VIOLATION) throw error
        throw new FleetError('conflict', 'its group, host or pool was removed a moment ago', { cause: error })
      }
    },
  }
}

async function placeIn(tx: Transaction, order: CaptureOrder, notAfterMs: number): Promise<PlacedCapture> {
  const { groupId, by, key } = order
  // As those of other kinds are: `decide` is never asked by what writes jobs.
  const asOrder = { groupId, by, names: [], ...(key === undefined ? {} : { key }), decide: never }
  // Before everything else that a transaction locks.
  await lockVolumes(tx)
  const [earlier] = await placedBefore(tx, [asOrder])
  if (earlier instanceof FleetError) throw earlier
  if (earlier !== undefined) return { placed: undefined, jobId: earlier.jobId }
  const plan = order.decide(await read(tx, order))
  const placed = plan.job === undefined ? undefined : await writeJob(tx, asOrder, plan.job, notAfterMs)
  if (key !== undefined && placed) await keepPlaced(tx, [{ order: asOrder, jobId: placed.job.id, dataset: undefined }])
  await writeRows(tx, order, plan)
  return { placed, jobId: placed?.job.id }
}

async function read(tx: Transaction, { groupId, reads }: CaptureOrder): Promise<CaptureFindings> {
  const { instance: instanceId, datasets: asked = [], snapshot: snapshotId } = reads
  if (snapshotId !== undefined) await tx.rows(lockSnapshot, [snapshotId])
  const [row] = snapshotId === undefined ? [] : await tx.rows(snapshotOf, [snapshotId])
  const partIds = row?.snapshot.parts.map(({ id }) => id) ?? []
  const ids = [...new Set([...asked, ...partIds])]
  const datasets = ids.length === 0 ? [] : await tx.rows(lockDatasets, [ids])
  const asOrder = {
    groupId,
    by: SOMEBODY,
    names: [],
    instances: instanceId === undefined ? [] : [instanceId],
    decide: never,
  }
  const [instance] = instanceId === undefined ? [] : await instancesOf(tx, [asOrder])
  const volumes = instanceId === undefined ? [] : await tx.rows(attached, [instanceId])
  const disks = instanceId === undefined ? [] : await tx.rows(disksOf, [instanceId])
  return {
    instance: instance?.groupId === groupId ? instance : undefined,
    dataset: (id) => datasets.find((dataset) => dataset.id === id),
    volumes,
    disks: new Set(disks.map(({ mountpoint }) => mountpoint)),
    snapshot: row?.snapshot,
    parts: partIds.length === 0 ? [] : await partsOf(tx, partIds, datasets),
  }
}

async function partsOf(
  tx: Transaction,
  ids: readonly string[],
  datasets: readonly z.infer<typeof DatasetRow>[],
): Promise<readonly StandingPart[]> {
  const [snapshots, volumes] = await Promise.all([tx.rows(volumeSnapshotsOf, [ids]), tx.rows(volumesOf, [ids])])
  return ids.flatMap((id): readonly StandingPart[] => {
    const dataset = datasets.find((one) => one.id === id)
    if (dataset !== undefined) return [{ kind: 'dataset', dataset }]
    const snapshot = snapshots.find((one) => one.id === id)
    const volume = volumes.find((one) => one.id === snapshot?.volume_id)
    if (snapshot === undefined || volume === undefined) return []
    const { name, state, clones } = snapshot
    return [{ kind: 'volume', id, name, state, volume, clones }]
  })
}

async function writeJob(
  tx: Transaction,
  order: Parameters<typeof writeOrders>[1]['orders'][number],
  { id, decision }: NonNullable<CapturePlan['job']>,
  notAfterMs: number,
): Promise<Placed> {
  const [answer] = await writeOrders(tx, { orders: [order], decided: [{ jobId: id, decision }], notAfterMs })
  if (answer !== undefined && 'job' in answer) return answer
  throw answer ?? new FleetError('internal', 'internal error', { detail: 'a job about an instance was not written' })
}

async function writeRows(tx: Transaction, { by }: CaptureOrder, plan: CapturePlan): Promise<void> {
  const { job, snapshot, datasets = [], volumeSnapshots = [], removes } = plan
  if (snapshot !== undefined) {
    const { id, groupId, name, instanceId, instance, leftOut } = snapshot
    const sizes = new Map(volumeSnapshots.map((one) => [one.id, one.sizeBytes]))
    const parts = snapshot.parts.map(({ kind, id: part, sourceId }, n) => {
      return { n, kind, id: part, source_id: sourceId, size_bytes: sizes.get(part) ?? 0 }
    })
    const { type, name: called, host } = instance
    const values = [id, groupId, name, instanceId, type, called, host, JSON.stringify(leftOut), job?.id ?? null]
    await tx.rows(insertSnapshot, [...values, JSON.stringify(parts)])
    const rows = await tx.rows(insertRows, [
      groupId,
      id,
      JSON.stringify(
        datasets.map(({ id: dataset, name: of, pool, origin }, n) => {
          return { n, id: dataset, pool_id: pool.id, name: of, origin_id: origin?.id, origin_ordinal: origin?.ordinal }
        }),
      ),
      JSON.stringify(
        volumeSnapshots.map(({ id: part, volumeId, name: of, path, sizeBytes }) => {
          return { id: part, volume_id: volumeId, name: of, path, size_bytes: sizeBytes }
        }),
      ),
    ])
    if (rows.length < datasets.length + volumeSnapshots.length)
      throw new FleetError('busy', 'a name that it needs was taken in this moment; try again')
  }
  if (removes === undefined) return
  if (job !== undefined) {
    await tx.rows(markRemoved, [removes.id, job.id, removes.parts])
    return
  }
  const object = { kind: 'instance-snapshot', id: removes.id }
  await writeAudit(tx, [{ by, operation: 'instance.discard', object, result: 'done' }])
  await tx.rows(remove, [removes.id])
}

function never(): never {
  throw new Error('an order about a snapshot of an instance is decided before its job is written')
}

/** Who asks is no business of what only reads. */
const SOMEBODY = { subject: '', userId: null, groupId: null, via: 'system', request: null } as const
