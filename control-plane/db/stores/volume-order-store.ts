import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { AuditEntry } from '../../core/audit.ts'
import type { Secrets } from '../../core/secrets.ts'
import type { PlannedJob, VolumeOrder, VolumePlan } from '../../core/volume-book.ts'
import { type Sql, sqlState, statement, type Transaction } from '../sql.ts'
import { writeAudit } from './audit-write.ts'
import { type Placed, writeOrders } from './order-store.ts'
import { keepPlaced, placedBefore } from './placed-before.ts'
import { lockVolumes, readFindings } from './volume-findings.ts'

/** Kept with the exports that were made by one job: a JSON map by wwn. */
export const CHAP_SECRETS = 'chap-secrets'

/** How long a host is left alone after it was told all that it is to export: longer each time, and from the beginning after a quiet time. */
const RECONCILE_FIRST_S = 15
const RECONCILE_LAST_S = 600

/**
 * The rows of an order, beside its jobs. What goes only changes its state: no two rows of one name stand at a time, as the next one
 * is made after that.
 */
const write = statement(
  'volume_order_write',
  z.unknown(),
  `with volumes as (
     insert into volume (id, group_id, pool_id, path, lane, size_bytes, origin, state)
     select id, group_id, pool_id, path, lane, size_bytes, origin, 'creating'
     from jsonb_to_recordset($1::jsonb)
       as r(id uuid, group_id uuid, pool_id uuid, path text, lane uuid, size_bytes bigint, origin text)
   ), snapshots as (
     insert into volume_snapshot (id, group_id, volume_id, name, path, size_bytes, state)
     select id, group_id, volume_id, name, path, size_bytes, 'creating'
     from jsonb_to_recordset($2::jsonb) as r(id uuid, group_id uuid, volume_id uuid, name text, path text, size_bytes bigint)
   ), exports as (
     insert into export (id, group_id, pool_id, wwn, volume, initiators, chap_user, is_readonly, state)
     select id, group_id, pool_id, wwn, volume, initiators, chap_user, is_readonly, 'creating'
     from jsonb_to_recordset($3::jsonb)
       as r(id uuid, group_id uuid, pool_id uuid, wwn text, volume text, initiators jsonb, chap_user text, is_readonly boolean)
   ), volumes_go as (
     update volume set state = 'deleting', version = version + 1 where id = any($4::uuid[])
   ), snapshots_go as (
     update volume_snapshot set state = 'deleting', version = version + 1 where id = any($5::uuid[])
   ), exports_go as (
     update export set state = 'deleting', version = version + 1 where id = any($6::uuid[])
   ), batch as (
     insert into export_batch (id, group_id, type, requested, done, errors, created_by)
     select id, group_id, type, requested, done, errors, created_by
     from jsonb_to_recordset($7::jsonb)
       as r(id uuid, group_id uuid, type text, requested integer, done jsonb, errors jsonb, created_by text)
     returning id
   ), jobs as (
     insert into export_batch_job (job_id, batch_id, elements, secret_id)
     select r.job_id, batch.id, r.elements, r.secret_id
     from batch, jsonb_to_recordset($8::jsonb) as r(job_id uuid, elements integer, secret_id uuid)
   )
   insert into export_reconcile (host_id, tries, next_at)
   select host_id, 0, now() + make_interval(secs => ${RECONCILE_FIRST_S})
   from unnest($9::uuid[]) as r(host_id)
   on conflict (host_id) do update
   set tries = case when export_reconcile.next_at < now() - make_interval(secs => ${RECONCILE_LAST_S}) then 0
         else export_reconcile.tries + 1 end,
       next_at = now() + make_interval(secs => case
         when export_reconcile.next_at < now() - make_interval(secs => ${RECONCILE_LAST_S}) then ${RECONCILE_FIRST_S}
         else least(${RECONCILE_LAST_S}, ${RECONCILE_FIRST_S} * 2 ^ least(export_reconcile.tries + 1, 10)) end)`,
)

const batchOf = statement(
  'volume_order_batch_of',
  z.object({ batch_id: z.string(), job_id: z.string() }),
  `select o.batch_id, o.job_id
   from export_batch_job mine
   join export_batch_job o on o.batch_id = mine.batch_id
   where mine.job_id = $1
   order by o.job_id`,
)

export interface PlacedVolumes {
  /** What is to be sent; none where an earlier request under the same key placed it. */
  readonly placed: readonly Placed[]
  readonly jobIds: readonly string[]
  readonly batchId: string | undefined
}

export interface VolumeOrderStore {
  /** Decides and writes in one transaction. @throws what `decide` throws; conflict when its group, host or pool went in that moment. */
  place(order: VolumeOrder, notAfterMs: number): Promise<PlacedVolumes>
}

/** The group, the host or the pool that an order was decided for went in that very moment. */
const FOREIGN_KEY_VIOLATION = '23503'

export function createVolumeOrderStore(
  sql: Sql,
  secretsIn: (tx: Transaction) => Pick<Secrets, 'put'>,
): VolumeOrderStore {
  return {
    async place(order, notAfterMs) {
      try {
        return await sql.transaction((tx) => placeIn(tx, { order, notAfterMs }, secretsIn(tx)))
      } catch (error) {
        if (sqlState(error) !== FOREIGN_KEY_VIOLATION) throw error
        throw new FleetError('conflict', 'its group, host or pool was removed a moment ago', { cause: error })
      }
    },
  }
}

interface Asked {
  readonly order: VolumeOrder
  /** By when jobs must have begun that are interactive; epoch ms. */
  readonly notAfterMs: number
}

async function placeIn(
  tx: Transaction,
  { order, notAfterMs }: Asked,
  secrets: Pick<Secrets, 'put'>,
): Promise<PlacedVolumes> {
  const { groupId, by, key } = order
  // As those of other kinds are: `decide` is never asked by what writes jobs.
  const asOrder = { groupId, by, names: [], ...(key === undefined ? {} : { key }), decide: never }
  const [, before, found] = await Promise.all([
    lockVolumes(tx),
    placedBefore(tx, [asOrder]),
    readFindings(tx, order.reads, groupId),
  ])
  const [earlier] = before
  if (earlier instanceof FleetError) throw earlier
  if (earlier !== undefined) return placedEarlier(tx, earlier.jobId)
  const plan = order.decide(found)
  const secretIds = await keepSecrets(plan.jobs, groupId, secrets)
  const placed = await writeJobs(tx, plan, { order: asOrder, notAfterMs })
  const [first] = placed
  if (key !== undefined && first) await keepPlaced(tx, [{ order: asOrder, jobId: first.job.id, dataset: undefined }])
  if (plan.jobs.length === 0) await writeAudit(tx, unordered(order, plan))
  await tx.rowsAndCommit(write, valuesOf(order, plan, secretIds))
  return { placed, jobIds: placed.map(({ job }) => job.id), batchId: plan.batch?.id }
}

/** A list of which nothing was left to be ordered. That which is ordered is told with its jobs. */
function unordered({ by }: VolumeOrder, { batch }: VolumePlan): readonly AuditEntry[] {
  if (batch === undefined) return []
  const [failure] = batch.errors
  const object = { kind: 'export', id: null, name: `${batch.requested} exports` }
  const entry = { by, operation: `export.${batch.type}`, object, detail: { batch: batch.id } }
  return [failure === undefined ? { ...entry, result: 'done' } : { ...entry, result: 'refused', code: failure.code }]
}

function never(): never {
  throw new Error('an order about volumes is decided before its jobs are written')
}

async function placedEarlier(tx: Transaction, jobId: string): Promise<PlacedVolumes> {
  const rows = await tx.rows(batchOf, [jobId])
  const jobIds = rows.length === 0 ? [jobId] : rows.map((row) => row.job_id)
  return { placed: [], jobIds, batchId: rows[0]?.batch_id }
}

/** One secret a job: its map, as it travels. */
async function keepSecrets(
  jobs: readonly PlannedJob[],
  groupId: string,
  secrets: Pick<Secrets, 'put'>,
): Promise<ReadonlyMap<string, string>> {
  const kept = new Map<string, string>()
  for (const { id, secrets: given } of jobs) {
    if (given === undefined) continue
    const bytes = Buffer.from(JSON.stringify(given))
    kept.set(id, await secrets.put({ groupId, kind: CHAP_SECRETS, bytes }))
  }
  return kept
}

type JobOrder = Parameters<typeof writeOrders>[1]['orders'][number]

async function writeJobs(
  tx: Transaction,
  { jobs }: VolumePlan,
  { order, notAfterMs }: { readonly order: JobOrder; readonly notAfterMs: number },
): Promise<readonly Placed[]> {
  if (jobs.length === 0) return []
  const answers = await writeOrders(tx, {
    orders: jobs.map(() => order),
    decided: jobs.map(({ id, decision }) => ({ jobId: id, decision })),
    notAfterMs,
  })
  return answers.map((answer) => {
    if (answer !== undefined && 'job' in answer) return answer
    throw answer ?? new FleetError('internal', 'internal error', { detail: 'a job about volumes was not written' })
  })
}

function valuesOf(
  { groupId, by }: VolumeOrder,
  plan: VolumePlan,
  secretIds: ReadonlyMap<string, string>,
): readonly unknown[] {
  const { jobs, volumes = [], snapshots = [], exports = [], removes = {}, batch, reconciles } = plan
  const batches = batch === undefined ? [] : [{ ...batch, group_id: groupId, created_by: by.subject }]
  const batchJobs = jobs.map(({ id, decision }) => ({
    job_id: id,
    elements: 'elements' in decision.spec ? decision.spec.elements.length : 0,
    secret_id: secretIds.get(id) ?? null,
  }))
  return [
    JSON.stringify(
      volumes.map(({ id, groupId: group_id, poolId, path, lane, sizeBytes, origin }) => {
        return { id, group_id, pool_id: poolId, path, lane, size_bytes: sizeBytes, origin }
      }),
    ),
    JSON.stringify(
      snapshots.map(({ id, groupId: group_id, volumeId, name, path, sizeBytes }) => {
        return { id, group_id, volume_id: volumeId, name, path, size_bytes: sizeBytes }
      }),
    ),
    JSON.stringify(
      exports.map(({ id, groupId: group_id, poolId, wwn, volume, initiators, chapUser, isReadonly }) => {
        const access = { initiators, chap_user: chapUser, is_readonly: isReadonly }
        return { id, group_id, pool_id: poolId, wwn, volume, ...access }
      }),
    ),
    removes.volumes ?? [],
    removes.snapshots ?? [],
    removes.exports ?? [],
    JSON.stringify(batches),
    JSON.stringify(batch === undefined ? [] : batchJobs),
    reconciles === undefined ? [] : [reconciles],
  ]
}
