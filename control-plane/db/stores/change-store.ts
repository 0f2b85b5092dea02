import { z } from 'zod'
import { isTerminal, JobState } from '../../../shared/job-machine.ts'
import { JobSpec } from '../../../shared/job-spec.ts'
import { eventsOf } from '../../core/change-events.ts'
import type { UnnumberedEvent } from '../../core/event-body.ts'
import { concernsCaptures } from '../../core/instance-capture-ends.ts'
import { afterChange, type JobChange, type LockedJob } from '../../core/job-change.ts'
import { concernsVolumes } from '../../core/volume-ends.ts'
import { claims, type Sql, statement, type Transaction } from '../sql.ts'
import { settleCaptures } from './capture-ends.ts'
import { type Committed, readWritten, writeChanges, writeValues } from './change-write.ts'
import { concernsInstanceBackups, lockInstanceBackupsOf, touchInstanceBackups } from './instance-backup-ends.ts'
import { concernsInstances, settleInstances } from './instance-ends.ts'
import { concernsBackups, lockBackupsOf, settleBackups } from './volume-backup-fold.ts'
import { settleVolumeEnds } from './volume-end-store.ts'
import { lockVolumes, tryLockVolumes } from './volume-findings.ts'

const LockedJobRow = z
  .object({
    id: z.string(),
    group_id: z.string(),
    spec: JobSpec,
    host: z.string(),
    state: JobState,
    attempt: z.number(),
    heard_delivery: z.number(),
    heard_seq: z.number(),
    announced: z.boolean(),
    dataset_id: z.string().nullable(),
    dataset_name: z.string().nullable(),
  })
  .transform(
    (row): LockedJob => ({
      id: row.id,
      groupId: row.group_id,
      kind: row.spec.kind,
      spec: row.spec,
      host: row.host,
      state: row.state,
      attempt: row.attempt,
      heardDelivery: row.heard_delivery,
      heardSeq: row.heard_seq,
      announced: row.announced,
      datasetId: row.dataset_id,
      datasetName: row.dataset_name,
    }),
  )

const LOCKED_JOB_COLUMNS = `j.id, j.group_id, j.spec, h.name as host, j.state, j.attempt, j.heard_delivery, j.heard_seq,
  j.announced, j.dataset_id, j.dataset_name`

const lockJobs = statement(
  'change_lock_jobs',
  LockedJobRow,
  `select ${LOCKED_JOB_COLUMNS}
   from job j
   join host h on h.id = j.host_id
   where j.id = any($1::uuid[])
   order by j.id
   for update of j`,
)

const lockUnannounced = claims(
  'change_lock_unannounced',
  LockedJobRow,
  `select ${LOCKED_JOB_COLUMNS}
   from job j
   join host h on h.id = j.host_id
   where not j.announced and j.created_at < now() - make_interval(secs => $1)
   order by j.ordinal
   limit $2
   for update of j skip locked`,
)

const lockSilent = claims(
  'change_lock_silent',
  LockedJobRow,
  `select ${LOCKED_JOB_COLUMNS}
   from job j
   join host h on h.id = j.host_id
   where j.state in ('dispatched', 'running')
     and j.heard_at < now() - make_interval(secs => $1)
     and (j.state = 'running' or h.state = 'offline')
   order by j.id
   limit $2
   for update of j skip locked`,
)

const lockOverdue = claims(
  'change_lock_overdue',
  LockedJobRow,
  `select ${LOCKED_JOB_COLUMNS}
   from job j
   join host h on h.id = j.host_id
   where j.state in ('queued', 'dispatched') and j.started_at is null and j.not_after < now() and h.name = any($1::text[])
   order by j.id
   limit $2
   for update of j skip locked`,
)

/** Of hosts that were not heard since the station was restored too: nobody was known to be there then. */
const lockGone = claims(
  'change_lock_gone',
  LockedJobRow,
  `select ${LOCKED_JOB_COLUMNS}
   from host h
   join job j on j.host_id = h.id and j.state = 'cancelling'
   where h.state = 'offline' and coalesce(h.last_seen_at, (select restored_at from station)) < now() - make_interval(secs => $1)
   order by j.id
   limit $2
   for update of j skip locked`,
)

export interface ChangeStore {
  /** This replica made the job, so knows it as it stands: its first change needs no read. */
  expect(job: LockedJob): void
  /**
   * Lets `decide` look at each job, writes what it answers; one transaction. A job that this replica knows is not read: should
   * another replica have changed it meanwhile, the write does not match, and it is locked and decided on again.
   */
  change(jobIds: readonly string[], decide: (job: LockedJob) => JobChange | undefined): Promise<Committed>
  /** Tells the feed of jobs that nothing has happened to since they were made, `olderThanMs` ago or more. */
  announce(bounds: { readonly olderThanMs: number; readonly limit: number }): Promise<Committed>
  /** Running jobs nobody has heard of for `silentMs`, and sent ones of hosts that are offline. */
  changeSilent(
    bounds: { readonly silentMs: number; readonly limit: number },
    decide: (job: LockedJob) => JobChange | undefined,
  ): Promise<Committed>
  /** Jobs that were asked to stop, of hosts that nobody has heard of for `awayMs`. */
  changeGone(bounds: { readonly awayMs: number; readonly limit: number }, decide: Decide): Promise<Committed>
  /** Interactive orders of `hosts` that were not started in time. */
  changeOverdue(
    bounds: { readonly hosts: readonly string[]; readonly limit: number },
    decide: (job: LockedJob) => JobChange | undefined,
  ): Promise<Committed>
  /** Events that concern no job. */
  tell(events: readonly UnnumberedEvent[]): Promise<Committed>
}

const NOTHING: Committed = { changes: [], events: [], waiting: false }

/** Jobs that this replica placed or changed last, as it left them. */
const MAX_KNOWN = 20_000

type Decide = (job: LockedJob) => JobChange | undefined

/** @param origin tells this replica's notifications from the others'. */
export function createChangeStore(sql: Sql, origin: string): ChangeStore {
  const known = new Map<string, LockedJob>()

  function remember(job: LockedJob): void {
    known.delete(job.id)
    if (isTerminal(job.state)) return
    known.set(job.id, job)
    if (known.size <= MAX_KNOWN) return
    const oldest = known.keys().next().value
    if (oldest !== undefined) known.delete(oldest)
  }

  async function write(tx: Pick<Sql, 'rows'>, changes: readonly JobChange[], events: readonly UnnumberedEvent[]) {
    const at = new Date().toISOString()
    const group = { changes, events, origin }
    const [answer] = await tx.rows(writeChanges, writeValues(group, at))
    const committed = readWritten(group, answer, at)
    for (const change of changes) known.delete(change.job.id)
    for (const change of committed.changes) remember(afterChange(change))
    return committed
  }

  /** With what their ends mean for instances, volumes and backups of those, where there are any: no business of the statement that writes all else. */
  async function writeAll(tx: Transaction, changes: readonly JobChange[]): Promise<Committed> {
    const events = changes.flatMap(eventsOf)
    if (!changes.some(concernsMore)) return write({ rows: tx.rowsAndCommit }, changes, events)
    // Before events are numbered: nobody waits for our number while we wait for an order.
    if (changes.some(takesTurn)) await lockVolumes(tx)
    await lockBackupsOf(tx, changes)
    await lockInstanceBackupsOf(tx, changes)
    const committed = await write(tx, changes, events)
    await settleInstances(tx, committed.changes)
    await settleVolumeEnds(tx, committed.changes)
    await settleCaptures(tx, committed.changes)
    await settleBackups(tx, committed.changes)
    await touchInstanceBackups(tx, committed.changes)
    return committed
  }

  /** Whoever has jobs locked does not wait for the lock of volumes: it begins anew, with that first. */
  async function changeLocked(lock: (tx: Transaction) => Promise<LockedJob[]>, decide: Decide): Promise<Committed> {
    const attempt = (isFirst: boolean) =>
      sql.transaction(async (tx) => {
        if (!isFirst) await lockVolumes(tx)
        const changes = (await lock(tx)).flatMap((job) => decide(job) ?? [])
        if (changes.length === 0) return NOTHING
        if (isFirst && changes.some(takesTurn) && !(await tryLockVolumes(tx))) throw new VolumesTaken()
        return writeAll(tx, changes)
      })
    try {
      return await attempt(true)
    } catch (error) {
      if (!(error instanceof VolumesTaken)) throw error
      return attempt(false)
    }
  }

  function writeKnown(changes: readonly JobChange[]): Promise<Committed> {
    if (changes.some(concernsMore)) return sql.transaction((tx) => writeAll(tx, changes))
    return write(sql, changes, changes.flatMap(eventsOf))
  }

  /** What can be decided without a read. Where knowledge says "nothing applies" it may be stale: that is left to the lock. */
  function decideKnown(jobIds: readonly string[], decide: Decide): readonly JobChange[] {
    return jobIds
      .flatMap((id) => known.get(id) ?? [])
      .flatMap((job) => decide(job) ?? [])
      .toSorted((a, b) => (a.job.id < b.job.id ? -1 : 1))
  }

  return {
    expect: remember,

    async change(jobIds, decide) {
      const changes = decideKnown(jobIds, decide)
      const quick = changes.length === 0 ? NOTHING : await writeKnown(changes)
      const done = new Set(quick.changes.map((change) => change.job.id))
      const rest = jobIds.filter((id) => !done.has(id))
      if (rest.length === 0) return quick
      const slow = await changeLocked((tx) => tx.rows(lockJobs, [rest]), decide)
      return joined(quick, slow)
    },

    announce: ({ olderThanMs, limit }) =>
      changeLocked(
        (tx) => tx.rows(lockUnannounced, [olderThanMs / 1000, limit]),
        (job) => ({ job, state: job.state, attempt: job.attempt, passed: [] }),
      ),

    changeSilent: ({ silentMs, limit }, decide) =>
      changeLocked((tx) => tx.rows(lockSilent, [silentMs / 1000, limit]), decide),

    changeGone: ({ awayMs, limit }, decide) => changeLocked((tx) => tx.rows(lockGone, [awayMs / 1000, limit]), decide),

    changeOverdue: ({ hosts, limit }, decide) => changeLocked((tx) => tx.rows(lockOverdue, [hosts, limit]), decide),

    tell: (events) => write(sql, [], events),
  }
}

/** Undoes the transaction. */
class VolumesTaken extends Error {}

function concernsMore(change: JobChange): boolean {
  return concernsInstances(change) || takesTurn(change) || concernsBackups(change) || concernsInstanceBackups(change)
}

/** Among all that decides on volumes. */
function takesTurn(change: JobChange): boolean {
  return concernsVolumes(change) || concernsCaptures(change)
}

function joined(first: Committed, second: Committed): Committed {
  return {
    changes: [...first.changes, ...second.changes],
    events: [...first.events, ...second.events],
    waiting: first.waiting || second.waiting,
  }
}
