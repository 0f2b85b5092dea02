import { z } from 'zod'
import { isTerminal, JobState } from '../../../shared/job-machine.ts'
import type { JobChange } from '../../core/job-change.ts'
import { PENDING_PHASES } from '../../core/loans.ts'
import { type BackupFacts, type BackupState, backupOfSeries, stateOf } from '../../core/volume-backup-state.ts'
import { VOLUME_BACKUP_STATUSES } from '../../core/volume-backups.ts'
import { statement, type Transaction } from '../sql.ts'
import { LOOK_AGAIN_SECONDS } from './order-backups.ts'

const bigint = z.coerce.number()

/** `l` is a loan. */
const IS_PENDING = `l.phase in (${PENDING_PHASES.map((phase) => `'${phase}'`).join(', ')})`

const lock = statement(
  'volume_backup_lock',
  z.object({ id: z.string() }),
  'select id from volume_backup where id = any($1::uuid[]) order by id for update',
)

const Point = z.object({
  id: z.string(),
  status: z.enum(['running', 'good', 'partial', 'failed']),
  isGoing: z.boolean(),
  isDamaged: z.boolean(),
  storedBytes: z.number(),
  error: z.string().nullable(),
  problemCount: z.number(),
  problem: z.string().nullable(),
  jobId: z.string(),
  createdAtMs: z.number(),
})

const Facts = z
  .object({
    id: z.string(),
    deleting: z.boolean(),
    retention: z.number(),
    asked_bytes: bigint,
    status: z.enum(VOLUME_BACKUP_STATUSES),
    size_bytes: bigint,
    stored_bytes: bigint,
    fail_reason: z.string().nullable(),
    points: z.array(z.string()),
    job_id: z.string().nullable(),
    owes_prune: z.boolean(),
    series: z.array(Point),
    restore: z
      .object({ id: z.string(), state: JobState, error: z.string().nullable(), createdAtMs: z.number() })
      .nullable(),
    loan: z.enum(['read', 'write']).nullable(),
    lend_fault: z.object({ kind: z.enum(['read', 'write']), reason: z.string(), atMs: z.number() }).nullable(),
  })
  .transform((row): BackupFacts & { readonly id: string } => ({
    id: row.id,
    isDeleting: row.deleting,
    retention: row.retention,
    askedBytes: row.asked_bytes,
    points: row.series,
    restore: row.restore,
    loan: row.loan,
    lendFault: row.lend_fault,
    before: {
      status: row.status,
      sizeBytes: row.size_bytes,
      storedBytes: row.stored_bytes,
      failReason: row.fail_reason,
      points: row.points,
      jobId: row.job_id,
      owesPrune: row.owes_prune,
    },
  }))

/** In a statement of its own behind the lock, so that it sees what others have written who had that before. */
const read = statement(
  'volume_backup_facts',
  Facts,
  `select b.id, b.deleting, b.retention, b.asked_bytes, b.status, b.size_bytes, b.stored_bytes, b.fail_reason, b.points, b.job_id, b.owes_prune,
     coalesce((
       select jsonb_agg(jsonb_build_object('id', p.id, 'status', p.status, 'isGoing', p.deleting or p.trashed_at is not null,
         'isDamaged', p.damaged_at is not null, 'storedBytes', p.stored_bytes, 'error', p.error ->> 'message',
         'problemCount', coalesce((p.made ->> 'problemCount')::bigint, 0), 'problem', p.made #>> '{problems,0,reason}',
         'jobId', p.job_id, 'createdAtMs', extract(epoch from p.created_at) * 1000) order by p.name)
       from point p
       where p.series_id = b.series_id
     ), '[]') as series,
     case when r.id is not null then jsonb_build_object('id', r.id, 'state', r.state, 'error', r.error ->> 'message',
       'createdAtMs', extract(epoch from r.created_at) * 1000) end as restore,
     (select l.kind from lun_loan l where l.backup_id = b.id and ${IS_PENDING} limit 1) as loan, b.lend_fault
   from volume_backup b
   left join job r on r.id = b.restore_job_id
   where b.id = any($1::uuid[])`,
)

const write = statement(
  'volume_backup_fold',
  z.unknown(),
  `update volume_backup b
   set status = f.status, size_bytes = f.size_bytes, stored_bytes = f.stored_bytes, fail_reason = f.fail_reason, points = f.points,
     job_id = f.job_id, owes_prune = f.owes_prune, version = b.version + f.changed::int,
     updated_at = case when f.changed then now() else b.updated_at end,
     looks = case when f.hurries then 0 else b.looks end,
     look_at = case
       when f.status = 'deleting' or f.owes_prune then case when f.hurries or b.look_at is null then now() else b.look_at end
       when f.status in ('creating', 'restoring') then now() + make_interval(secs => ${LOOK_AGAIN_SECONDS}) end
   from jsonb_to_recordset($1::jsonb) as f(id uuid, status text, size_bytes bigint, stored_bytes bigint, fail_reason text, points uuid[],
     job_id uuid, owes_prune boolean, changed boolean, hurries boolean)
   where b.id = f.id`,
)

const keepRestore = statement(
  'volume_backup_keep_restore',
  z.unknown(),
  `update volume_backup b
   set restore_job_id = r.job_id
   from jsonb_to_recordset($1::jsonb) as r(id uuid, job_id uuid)
   where b.id = r.id`,
)

/** What was borrowed for a job that has ended goes back at once. */
const giveBack = statement(
  'volume_backup_give_back',
  z.unknown(),
  `update lun_loan set look_at = now(), looks = 0 where job_id = any($1::uuid[]) and phase = 'work'`,
)

/** A job that has ended and says something of a backup. */
interface BackupEnd {
  readonly id: string
  readonly jobId: string
  readonly isRestore: boolean
  /** What was waited for has come: whatever is next is next at once. */
  readonly isGood: boolean
  /** Why a deletion came to nothing. */
  readonly undeleted: string | null
}

function endOf({ job, state, error }: JobChange): BackupEnd | undefined {
  const { kind, spec } = job
  if (!isTerminal(state) || !('series' in spec)) return undefined
  const id = backupOfSeries(spec.series)
  if (id === undefined) return undefined
  const isGood = state === 'succeeded'
  const isUndeleted = kind === 'point.delete' && !isGood
  const undeleted = isUndeleted ? (error?.message ?? 'its job was cancelled') : null
  const isRestore = kind === 'volume.restore' || kind === 'lun.restore'
  return { id, jobId: job.id, isRestore, isGood, undeleted }
}

export function concernsBackups(change: JobChange): boolean {
  return endOf(change) !== undefined
}

/** Before jobs and events are written: those who order the next point have the backup before they have points. */
export async function lockBackupsOf(tx: Transaction, changes: readonly JobChange[]): Promise<void> {
  const ids = changes.flatMap((change) => endOf(change)?.id ?? [])
  if (ids.length > 0) await tx.rows(lock, [[...new Set(ids)]])
}

/** After the jobs and points, in their transaction, which has held the backups since before it wrote any. */
export async function settleBackups(tx: Transaction, changes: readonly JobChange[]): Promise<void> {
  const ends = changes.flatMap((change) => endOf(change) ?? [])
  const restores = ends.filter(({ isRestore }) => isRestore).map(({ id, jobId }) => ({ id, job_id: jobId }))
  if (restores.length > 0) await tx.rows(keepRestore, [JSON.stringify(restores)])
  if (ends.length === 0) return
  await fold(tx, ends)
  await tx.rows(giveBack, [ends.map(({ jobId }) => jobId)])
}

/** What backups are, made anew of their points and jobs. */
export async function refold(tx: Transaction, ids: readonly string[]): Promise<void> {
  await tx.rows(lock, [ids])
  await fold(
    tx,
    ids.map((id) => ({ id, jobId: '', isRestore: false, isGood: false, undeleted: null })),
  )
}

/** The backup of an instance that it is part of is another too. */
const touchParents = statement(
  'volume_backup_touch_parents',
  z.unknown(),
  `update instance_backup
   set version = version + 1, updated_at = now(), look_at = case when phase is not null then now() else look_at end
   where id in (select instance_backup_id from volume_backup where id = any($1::uuid[]) and instance_backup_id is not null)`,
)

async function fold(tx: Transaction, ends: readonly BackupEnd[]): Promise<void> {
  const ids = [...new Set(ends.map(({ id }) => id))]
  const rows = await tx.rows(read, [ids])
  const folded = rows.map(({ id, ...facts }) => {
    const own = ends.filter((end) => end.id === id)
    const state = { ...stateOf(facts), ...deletionOf(facts, own) }
    return {
      id,
      ...valuesOf(state),
      changed: isChanged(facts.before, state),
      hurries: own.some(({ isGood }) => isGood),
    }
  })
  if (folded.length > 0) await tx.rows(write, [JSON.stringify(folded)])
  const changed = folded.filter((one) => one.changed).map(({ id }) => id)
  if (changed.length > 0) await tx.rows(touchParents, [changed])
}

function deletionOf({ isDeleting }: BackupFacts, ends: readonly BackupEnd[]): Partial<BackupState> {
  const last = ends.at(-1)
  return isDeleting && last !== undefined && last.jobId !== '' ? { failReason: last.undeleted } : {}
}

function valuesOf({ status, sizeBytes, storedBytes, failReason, points, jobId, owesPrune }: BackupState) {
  return {
    ...{ status, size_bytes: sizeBytes, stored_bytes: storedBytes, fail_reason: failReason, points },
    ...{ job_id: jobId, owes_prune: owesPrune },
  }
}

function isChanged(before: BackupState, after: BackupState): boolean {
  return JSON.stringify(valuesOf(before)) !== JSON.stringify(valuesOf(after))
}
