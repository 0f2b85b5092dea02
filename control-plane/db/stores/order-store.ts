import assert from 'node:assert/strict'
import { z } from 'zod'
import { FleetError, toFleetError } from '../../../shared/errors.ts'
import { newId, ResourceName } from '../../../shared/ids.ts'
import { objectOf } from '../../core/change-audit.ts'
import type { Dataset } from '../../core/datasets.ts'
import type { KeptInstance } from '../../core/instances.ts'
import type { LockedJob } from '../../core/job-change.ts'
import type { Decision, Findings, LockedDataset, NewDataset, Order, PointFindings } from '../../core/orders.ts'
import { type Sql, sqlState, statement, type Transaction } from '../sql.ts'
import { ACTOR_COLUMNS, actorValues } from './audit-write.ts'
import { DATASET_COLUMNS, DATASET_JOINS, DatasetRow } from './dataset-columns.ts'
import { createKnownDatasets } from './known-datasets.ts'
import { instancesOf, keepInstance, makesInstance } from './order-instances.ts'
import { lockPointsOf, lockSeriesOf, NO_POINTS, POINT_RECORD, pointValues } from './order-points.ts'
import { linkTasks, lockTasks } from './order-tasks.ts'
import { requireVolumes } from './order-volumes.ts'
import { keepPlaced, type PlacedBefore, placedBefore } from './placed-before.ts'
import { supersedeDatasets, supersededBy } from './superseded-store.ts'

/** An accepted order; a `dispatched` one holds its lanes and is to be published at once. */
export interface Placed {
  readonly job: LockedJob
  readonly notAfterMs: number | null
  /** The dataset it makes, as it stands now: being created. */
  readonly dataset: Dataset | undefined
}

const lockDatasets = statement(
  'order_lock_datasets',
  DatasetRow,
  `with named as (
     select d.id, d.origin_id
     from unnest($1::uuid[], $2::text[]) as asked(group_id, name)
     join dataset d on d.group_id = asked.group_id and d.name = asked.name
   )
   select ${DATASET_COLUMNS}
   from dataset d ${DATASET_JOINS}
   where d.id in (select id from named union select origin_id from named)
   order by d.id
   for update of d`,
)

/**
 * Everything one group of orders writes. A job whose new dataset's name is taken is left out. A job is granted its lanes
 * when nobody who came before wants any of them in a way that excludes it; else it queues behind them. `$3` names the
 * datasets, and their versions, that jobs were decided on without a lock: those that find another version are left out.
 */
const insertOrders = statement(
  'order_insert',
  z.object({
    job_id: z.string(),
    /** Null: a dataset that it was decided on has changed, and nothing was written. */
    granted: z.boolean().nullable(),
    ordinal: z.coerce.number().nullable(),
    created_at: z.date().nullable(),
    /** Nothing was written: its dataset's name is held by one whose creation was withdrawn. */
    withdrawn: z.boolean(),
  }),
  `with basis as (
     select * from jsonb_to_recordset($3::jsonb) as b(job_id uuid, id uuid, version bigint)
   ), standing as (
     select id, version from dataset where id in (select id from basis) order by id for update
   ), outdated as (
     select distinct b.job_id
     from basis b
     left join standing s on s.id = b.id and s.version = b.version
     where s.id is null
   ), asked as (
     select *
     from jsonb_to_recordset($1::jsonb) as a(n integer, job_id uuid, group_id uuid, host_id uuid, kind text, request jsonb,
       spec jsonb, dataset_id uuid, dataset_name text, not_after_ms double precision, retry_of uuid, creates boolean, removes boolean,
       behind boolean, holds jsonb, object_kind text, object_id text, object_name text, removes_point uuid, subject text, user_id uuid, via text, address text, request_id text, method text, path text)
     where job_id not in (select job_id from outdated)
   ), made as (
     insert into dataset (id, ordinal, group_id, pool_id, kind, name, is_snapshot, readonly, origin_id, origin_ordinal,
       state, tags)
     select id, coalesce(ordinal, nextval('dataset_ordinal')), group_id, pool_id, 'filesystem', name, is_snapshot,
       readonly, origin_id, origin_ordinal, 'creating', tags
     from jsonb_to_recordset($2::jsonb) as m(n integer, job_id uuid, id uuid, ordinal bigint, group_id uuid, pool_id uuid, name text,
       is_snapshot boolean, readonly boolean, origin_id uuid, origin_ordinal bigint, tags jsonb)
     where job_id not in (select job_id from outdated)
     order by n
     on conflict do nothing
     returning id, ordinal, created_at
   ), removed as (
     update dataset
     set state = 'deleting', version = version + 1
     where id in (select dataset_id from asked where removes)
   ), placed as (
     insert into job (id, group_id, host_id, kind, request, spec, dataset_id, dataset_name, state, not_after, retry_of,
       created_by)
     select job_id, group_id, host_id, kind, request, spec, dataset_id, dataset_name,
       case when behind or exists (
         select 1
         from jsonb_to_recordset(holds) as w(lane uuid, exclusive boolean)
         -- offset 0: looked up by lane, also when this was planned while nobody held any.
         cross join lateral (
           select 1 from lane_hold h where h.lane = w.lane and (h.exclusive or w.exclusive) offset 0
         ) h
       ) then 'queued' else 'dispatched' end,
       to_timestamp(not_after_ms / 1000), retry_of, subject
     from asked
     where not creates or dataset_id in (select id from made)
     order by n
     returning id, ordinal, state, dataset_id
   ), numbers as (
     -- Looked up in this: as a join Postgres would compare each with each, and groups are of hundreds.
     select jsonb_object_agg(id, ordinal) as jobs, coalesce(jsonb_object_agg(id, true) filter (where state = 'dispatched'), '{}') as granted
     from placed
   ), held as (
     insert into lane_hold (lane, job_id, job_ordinal, exclusive, granted)
     select w.lane, job_id, (numbers.jobs ->> job_id::text)::bigint, w.exclusive, numbers.granted ? job_id::text
     from numbers, asked, jsonb_to_recordset(holds) as w(lane uuid, exclusive boolean)
     where numbers.jobs ? job_id::text
   ), pointed as (
     insert into point (id, group_id, series_id, host_id, name, source, dataset_id, status, base_id, chain, full_reason, job_id, schedule_id,
       run_id)
     select id, group_id, series_id, host_id, name, source, dataset_id, 'running', base_id, chain, full_reason, job_id, schedule_id, run_id
     from jsonb_to_recordset($4::jsonb) as p(${POINT_RECORD})
     where (job_id in (select id from placed)) is true
   ), unpointed as (
     update point
     set deleting = true, version = version + 1
     where id in (select removes_point from asked)
   ), audited as (
     insert into audit (${ACTOR_COLUMNS}, operation, object_kind, object_id, object_name, result, job_id, detail)
     select ${ACTOR_COLUMNS}, kind, object_kind, object_id, object_name, 'accepted', job_id,
       case when retry_of is not null then jsonb_build_object('retry_of', retry_of) end
     from asked
     where (job_id in (select id from placed)) is true
   )
   select placed.id as job_id, state = 'dispatched' as granted, made.ordinal, made.created_at, false as withdrawn
   from placed
   left join made on made.id = placed.dataset_id
   union all
   select job_id, null, null, null, false from outdated
   union all
   select asked.job_id, false, null, null, true
   from asked
   join dataset d on d.group_id = asked.group_id and d.name = asked.dataset_name and d.state = 'creating'
   where creates and (asked.dataset_id in (select id from made)) is not true
     and exists (select 1 from job j where j.dataset_id = d.id and j.withdrawn and j.state = 'cancelling')`,
)

export interface OrderStore {
  /** Decides and writes a group of orders in one transaction; the answers stand in the orders' sequence. */
  place(orders: readonly Order[], notAfterMs: number): Promise<readonly (Placed | PlacedBefore | FleetError)[]>
}

/** The group, the host, the pool or the target that an order was decided for went in that very moment. */
const FOREIGN_KEY_VIOLATION = '23503'

/** exclusion_violation: a lane was given to somebody else between our look at it and our write. */
const LANE_TAKEN = '23P01'

export function createOrderStore(sql: Sql): OrderStore {
  const known = createKnownDatasets()

  /** One statement, on what is known; undefined where it is not enough or no longer true. */
  async function placeKnown(
    orders: readonly Order[],
    notAfterMs: number,
  ): Promise<readonly (Placed | FleetError | undefined)[]> {
    const removed = new Set<string>()
    const decided = orders.map((order) => {
      const recalled = order.key || order.isExact || order.points || order.instances ? undefined : known.recall(order)
      const datasets = recalled?.some(({ id }) => removed.has(id)) ? undefined : recalled
      const decision = datasets === undefined ? undefined : decide(order, { datasets, instances: [] }, NO_POINTS)
      const removal = removalOf(decision)
      if (removal !== undefined) removed.add(removal)
      // A refusal may rest on what is no longer so.
      return datasets === undefined || decision === undefined || decision instanceof FleetError
        ? undefined
        : { ...decision, basis: datasets }
    })
    if (decided.every((decision) => decision === undefined)) return []
    const written = await writeOrders(sql, { orders, decided, notAfterMs }).catch((error: unknown) => {
      if (sqlState(error) === LANE_TAKEN) return []
      throw error
    })
    return decided.map((decision, n) => {
      const answer = written[n]
      if (decision !== undefined && answer === undefined) known.forget(decision.basis)
      return answer
    })
  }

  /** One of the groups of `inGroups`, in its sequence. */
  function placeLocked(orders: readonly Order[], notAfterMs: number) {
    return sql.transaction(async (tx) => {
      const before = await placedBefore(tx, orders)
      const gone = await lockTasks(tx, orders)
      const withPoints = orders.filter((order) => order.points !== undefined && !gone.has(order))
      await lockSeriesOf(tx, withPoints)
      const datasets = await lock(tx, orders)
      const points = await lockPointsOf(tx, withPoints)
      const instances = await instancesOf(tx, orders)
      known.remember(datasets)
      let standing = datasets
      const first = orders.map((order, n) => {
        if (before[n] !== undefined) return undefined
        const decision =
          gone.get(order) ?? decide(order, { datasets: standing, instances }, order.points ? points(order) : NO_POINTS)
        standing = after(decision, standing)
        return decision
      })
      const decided = await requireVolumes(tx, first)
      const isKeyed = before.length > 0
      const superseded = supersededBy(decided)
      const hasMore =
        superseded.length > 0 || decided.some(makesInstance) || orders.some(({ task }) => task !== undefined)
      const isLast = !isKeyed && !hasMore
      const tail = { rows: isLast ? tx.rowsAndCommit : tx.rows }
      const answers = await writeOrders(tail, { orders, decided, notAfterMs })
      await linkTasks(tx, orders, (n) => {
        const answer = answers[n]
        return answer && 'job' in answer ? answer.job : undefined
      })
      await supersedeDatasets(tx, superseded)
      for (const [n, order] of orders.entries()) {
        const one = decided[n]
        const answer = answers[n]
        if (one && !(one instanceof FleetError) && answer && 'job' in answer) await keepInstance(tx, order, one)
      }
      if (isKeyed) await keepPlaced(tx, placedNow(orders, answers))
      return orders.map((_, n) => {
        const answer = before[n] ?? answers[n]
        assert(answer, 'an order that was decided on locked rows was left unanswered')
        return answer
      })
    })
  }

  /** What was placed already must not be placed again with the others: then a failure is theirs alone. */
  async function placeRest(orders: readonly Order[], notAfterMs: number, othersArePlaced: boolean) {
    try {
      return await placeLocked(orders, notAfterMs)
    } catch (thrown) {
      // An instance's name is taken, or it is made anew already: such an order is alone, and that is its answer.
      const isAnswer = thrown instanceof FleetError && (thrown.code === 'exists' || thrown.code === 'conflict')
      if (!othersArePlaced && !(isAnswer && orders.length === 1)) throw thrown
      return orders.map(() => toFleetError(thrown))
    }
  }

  async function placeAll(orders: readonly Order[], notAfterMs: number) {
    const quick = await placeKnown(orders, notAfterMs)
    const rest = orders.filter((_, n) => quick[n] === undefined)
    const answered = new Map<Order, Placed | PlacedBefore | FleetError>()
    for (const group of inGroups(rest)) {
      if (group.length === 0) continue
      const othersArePlaced = rest.length < orders.length || answered.size > 0
      for (const [n, answer] of (await placeRest(group, notAfterMs, othersArePlaced)).entries()) {
        // as: as many answers as orders
        answered.set(group[n] as Order, answer)
      }
    }
    return orders.map((order, n) => {
      const answer = quick[n] ?? answered.get(order)
      assert(answer, 'an order was left unanswered')
      return answer
    })
  }

  return {
    place: (orders, notAfterMs) =>
      placeAll(orders, notAfterMs).catch((error: unknown) => {
        // Of several nobody knows whose it was: they are tried one by one.
        if (orders.length > 1 || sqlState(error) !== FOREIGN_KEY_VIOLATION) throw error
        throw new FleetError('conflict', 'its group, host, pool or target was removed a moment ago', { cause: error })
      }),
  }
}

function placedNow(orders: readonly Order[], answers: readonly (Placed | FleetError | undefined)[]) {
  return orders.flatMap((order, n) => {
    const answer = answers[n]
    return answer && 'job' in answer ? [{ order, jobId: answer.job.id, dataset: answer.dataset }] : []
  })
}

/** What is decided together: orders without points and instances; runs of schedules, each in a series of its own; any other alone. */
function inGroups(orders: readonly Order[]): readonly (readonly Order[])[] {
  const runs = new Map<string, Order>()
  const alone: Order[] = []
  for (const order of orders) {
    const series = order.points?.series?.id
    const isRun = order.task?.kind === 'run' && order.key === undefined && order.points?.ids.length === 0
    if (isRun && series !== undefined && !runs.has(series)) runs.set(series, order)
    else if (order.points !== undefined || order.instances !== undefined) alone.push(order)
  }
  const simple = orders.filter(({ points, instances }) => points === undefined && instances === undefined)
  return [simple, [...runs.values()], ...alone.map((order) => [order])]
}

async function lock(tx: Transaction, orders: readonly Order[]): Promise<readonly LockedDataset[]> {
  const asked = orders
    .flatMap((order) => order.names.map((name) => ({ groupId: order.groupId, name })))
    .filter(({ name }) => isName(name))
  if (asked.length === 0) return []
  return tx.rows(lockDatasets, [asked.map((item) => item.groupId), asked.map((item) => item.name)])
}

/** Anything else names nothing, and may be text that Postgres does not take. */
function isName(name: string): boolean {
  return ResourceName.safeParse(name).success
}

/** `basis`: what it was decided on without a lock. */
type Decided =
  | { readonly jobId: string; readonly decision: Decision; readonly basis?: readonly LockedDataset[] }
  | FleetError

function decide(
  order: Order,
  found: { readonly datasets: readonly LockedDataset[]; readonly instances: readonly KeptInstance[] },
  points: PointFindings,
): Decided {
  const own = found.datasets.filter((dataset) => dataset.groupId === order.groupId)
  const findings: Findings = {
    ...points,
    named: (name) => own.find((dataset) => dataset.name === name),
    withId: (id) => own.find((dataset) => dataset.id === id),
    instance: (id) => found.instances.find((one) => one.id === id && one.groupId === order.groupId),
  }
  try {
    return { jobId: newId(), decision: order.decide(findings) }
  } catch (thrown) {
    return toFleetError(thrown)
  }
}

function removalOf(decided: Decided | undefined): string | undefined {
  return decided === undefined || decided instanceof FleetError ? undefined : decided.decision.remove?.id
}

/** As the next order of the same group finds them: what this one removes is being deleted. */
function after(decided: Decided, datasets: readonly LockedDataset[]): readonly LockedDataset[] {
  const removal = removalOf(decided)
  if (removal === undefined) return datasets
  return datasets.map((dataset) =>
    dataset.id === removal ? { ...dataset, state: 'deleting', version: dataset.version + 1 } : dataset,
  )
}

interface Batch {
  readonly orders: readonly Order[]
  /** Undefined: not in this batch. */
  readonly decided: readonly (Decided | undefined)[]
  readonly notAfterMs: number
}

/** Answers in the sequence of the orders; undefined for what is not in the batch, or whose basis no longer stands. */
export async function writeOrders(
  tx: Pick<Sql, 'rows'>,
  batch: Batch,
): Promise<readonly (Placed | FleetError | undefined)[]> {
  const accepted = batch.orders.flatMap((order, n) => {
    const decided = batch.decided[n]
    return decided === undefined || decided instanceof FleetError ? [] : [{ n, order, ...decided }]
  })
  // as: none was accepted, so all are errors or not there
  if (accepted.length === 0) return batch.decided.map((decided) => decided as FleetError | undefined)
  const behind = behindOthers(accepted)
  const jobs = accepted.map(({ n, order, jobId, decision }) => ({
    n,
    job_id: jobId,
    ...actorValues(order.by),
    group_id: order.groupId,
    host_id: decision.host.id,
    kind: decision.spec.kind,
    request: decision.request,
    spec: decision.spec,
    dataset_id: decision.subject?.id ?? null,
    dataset_name: decision.subject?.name ?? null,
    ...objectValues(decision),
    removes_point: decision.point && 'remove' in decision.point ? decision.point.remove : null,
    not_after_ms: decision.interactive ? batch.notAfterMs : null,
    retry_of: decision.retryOf ?? null,
    creates: decision.create !== undefined,
    removes: decision.remove !== undefined,
    behind: behind.has(jobId),
    holds: decision.holds,
  }))
  const made = accepted.flatMap(({ n, order, jobId, decision }) =>
    decision.create ? [{ job_id: jobId, ...datasetValues(n, order, decision.create) }] : [],
  )
  const basis = accepted.flatMap(({ jobId, basis = [] }) =>
    basis.map(({ id, version }) => ({ job_id: jobId, id, version })),
  )
  const points = accepted.flatMap(({ order, jobId, decision }) => pointValues(order, jobId, decision))
  const written = await tx.rows(
    insertOrders,
    [jobs, made, basis, points].map((records) => JSON.stringify(records)),
  )
  const rows = new Map(written.map((row) => [row.job_id, row]))

  return batch.decided.map((decided, n) => {
    if (decided === undefined || decided instanceof FleetError) return decided
    const { jobId, decision } = decided
    const row = rows.get(jobId)
    if (row?.granted === null) return undefined
    if (row?.withdrawn) {
      // No word on whether there will be one: an answer that is kept would outlive it.
      const message = `a '${decision.subject?.name}' was given up, and its host has not confirmed that yet; try again`
      return new FleetError('unavailable', message, { field: 'name' })
    }
    if (row === undefined) {
      return new FleetError('exists', `'${decision.subject?.name}' exists already`, { field: 'name' })
    }
    const groupId = batch.orders[n]?.groupId ?? ''
    return {
      job: newJob({ jobId, decision, groupId, granted: row.granted }),
      notAfterMs: decision.interactive ? batch.notAfterMs : null,
      dataset: decision.create && beingCreated(decision.create, { groupId, ...row }),
    }
  })
}

/** What a read of the job's row would give. */
function newJob(placed: {
  readonly jobId: string
  readonly decision: Decision
  readonly groupId: string
  readonly granted: boolean
}): LockedJob {
  const { spec, host, subject } = placed.decision
  return {
    id: placed.jobId,
    groupId: placed.groupId,
    kind: spec.kind,
    spec,
    host: host.name,
    state: placed.granted ? 'dispatched' : 'queued',
    attempt: 1,
    heardDelivery: 0,
    heardSeq: 0,
    announced: false,
    datasetId: subject?.id ?? null,
    datasetName: subject?.name ?? null,
  }
}

/** What the audit tells it was about. */
function objectValues({ spec, subject }: Decision) {
  const { kind, id, name } = objectOf({ spec, datasetId: subject?.id ?? null, datasetName: subject?.name ?? null })
  return { object_kind: kind, object_id: id, object_name: name }
}

/** What a read of the dataset's row would give. */
function beingCreated(
  { pool, ...dataset }: NewDataset,
  row: { readonly groupId: string; readonly ordinal: number | null; readonly created_at: Date | null },
): Dataset {
  const { id: _, ...placement } = pool
  const state = { state: 'creating', rootInode: 0, mountpoint: '', consistency: 'crash', version: 1 } as const
  const given = { groupId: row.groupId, ordinal: row.ordinal ?? 0, createdAt: row.created_at ?? new Date() }
  return { ...dataset, ...placement, ...state, ...given }
}

function datasetValues(n: number, order: Order, dataset: NonNullable<Decision['create']>) {
  return {
    n,
    id: dataset.id,
    ordinal: dataset.ordinal ?? null,
    group_id: order.groupId,
    pool_id: dataset.pool.id,
    name: dataset.name,
    is_snapshot: dataset.isSnapshot,
    readonly: dataset.readonly,
    origin_id: dataset.origin?.id ?? null,
    origin_ordinal: dataset.origin?.ordinal ?? null,
    tags: dataset.tags,
  }
}

/** Jobs of this group that must queue because an earlier one of the same group excludes them on some lane. */
function behindOthers(
  accepted: readonly { readonly jobId: string; readonly decision: Decision }[],
): ReadonlySet<string> {
  const seen = new Map<string, { shared: boolean; exclusive: boolean }>()
  const behind = new Set<string>()
  for (const { jobId, decision } of accepted) {
    for (const { lane, exclusive } of decision.holds) {
      const before = seen.get(lane) ?? { shared: false, exclusive: false }
      if (before.exclusive || (exclusive && before.shared)) behind.add(jobId)
      seen.set(lane, { shared: before.shared || !exclusive, exclusive: before.exclusive || exclusive })
    }
  }
  return behind
}
