import { z } from 'zod'
import { SYSTEM_CALLER } from '../../core/caller.ts'
import { MAX_ATTEMPTS } from '../../core/job-change.ts'
import { type DueDecision, decideDue } from '../../core/schedule-due.ts'
import { createDataSource, RESTORING } from '../data-source.ts'
import { createSql, statement } from '../sql.ts'
import { writeAudit } from '../stores/audit-write.ts'
import { createRunStore } from '../stores/run-store.ts'
import { ORDINALS_JUMP } from './write-database.ts'

/** What waited to be deleted stays so long: somebody may have wanted it back since. */
const TRASH_DAYS = 7
/** Hosts that export something else than the rows say are not told so long. */
const EXPORT_DAYS = 7
const BATCH = 500

const WHY =
  'the station was restored from a backup that was made while this was open: what became of it since is not known'

/** One more than any job has: NATS takes an agent's answer for news, not for what it told before the restore. */
const ANOTHER_ATTEMPT = MAX_ATTEMPTS + 1

const closeJobs = statement(
  'station_close_jobs',
  z.object({ id: z.string() }),
  `update job
   set state = 'cancelling', attempt = ${ANOTHER_ATTEMPT}, error = jsonb_build_object('code', 'unavailable', 'message', $1::text), not_after = null
   where finished_at is null
   returning id`,
)

const closeRestores = statement(
  'station_close_restores',
  z.object({ id: z.string() }),
  `update restore_task
   set code = 'completed', result = -2, reason = $1, ended_at = now(), version = version + 1
   where code in ('init', 'waiting') and not disabled
   returning id`,
)

/** Nobody knows any more on which of its hosts it runs. */
const closeMoves = statement(
  'station_close_moves',
  z.unknown(),
  `update instance_move
   set phase = 'ended', outcome = coalesce(outcome, 'cancelled'), job_id = null, waiting = null, ended_at = now(), version = version + 1,
     reason = concat_ws('; ', reason, $1::text)
   where ended_at is null`,
)

const keepTrash = statement(
  'station_keep_trash',
  z.unknown(),
  `update point
   set purge_at = now() + make_interval(days => ${TRASH_DAYS}), version = version + 1
   where trashed_at is not null and purge_at < now() + make_interval(days => ${TRASH_DAYS})`,
)

/** What hosts export since then, and no row tells of, may be in use: it is not taken away before somebody had the time to look. */
const keepExports = statement(
  'station_keep_exports',
  z.unknown(),
  `insert into export_reconcile (host_id, tries, next_at)
   select id, 0, now() + make_interval(days => ${EXPORT_DAYS})
   from host
   on conflict (host_id) do update set tries = 0, next_at = excluded.next_at`,
)

/** Nobody resumes at a number that meant something else: all that was given out is older than what is kept. */
const moveFeed = statement(
  'station_move_feed',
  z.unknown(),
  `update event_head set seq = seq + ${ORDINALS_JUMP}, pruned_seq = seq + ${ORDINALS_JUMP}`,
)

/** Nobody is known to be there until it is heard. */
const silence = statement('station_silence', z.unknown(), `update host set state = 'offline', last_seen_at = null`)

const mark = statement('station_mark', z.unknown(), 'update station set restored_at = now(), owes_purge = true')

const forgetRunning = statement(
  'station_forget_running',
  z.unknown(),
  `delete from station_backup where state = 'running'`,
)

const clock = statement('station_clock', z.object({ now: z.date() }), 'select now() as now')

const done = statement('station_done', z.unknown(), `drop table ${RESTORING}`)

/**
 * A database that was just filled from a backup made at `madeAt` becomes one that a fleet may go on with: nothing that was open
 * is begun again, and no number or instant since then is taken for one that nothing happened to.
 *
 * - Jobs that had not ended are asked back: their agents tell how they ended, or stop, or never heard of them.
 * - Restores that waited are not begun: they may have been made since. Migrations end where they are.
 * - Schedules' instants since then are missed in the ledger, with the reason; the newest fires.
 * - Exports stay as their hosts have them for a week, whatever the rows say.
 * - Events are numbered on from far ahead, so that clients with an older `since` are told that it is gone.
 * @returns how many jobs and restores were open
 */
export async function settleRestored(
  url: string,
  backup: { readonly id: string; readonly madeAt: Date },
): Promise<{ readonly jobs: number; readonly restores: number }> {
  const db = createDataSource({ url, poolSize: 2 })
  await db.initialize()
  try {
    const sql = createSql(db)
    const nowMs = (await sql.rows(clock, []))[0]?.now.getTime() ?? Date.now()
    const runs = createRunStore(sql)
    const decide = (question: Parameters<typeof decideDue>[0]) => unknown(decideDue(question), backup.madeAt)
    while ((await runs.due({ nowMs, limit: BATCH }, decide)) === BATCH);
    return await sql.transaction(async (tx) => {
      const jobs = await tx.rows(closeJobs, [WHY])
      const restores = await tx.rows(closeRestores, [WHY])
      await tx.rows(closeMoves, [WHY])
      for (const each of [keepTrash, keepExports, moveFeed, silence, mark, forgetRunning]) await tx.rows(each, [])
      const detail = { made_at: backup.madeAt.toISOString(), jobs: jobs.length, restores: restores.length }
      const object = { kind: 'station-backup', id: backup.id }
      const by = { ...SYSTEM_CALLER, subject: 'operator', groupId: null }
      await writeAudit(tx, [{ by, operation: 'station.restore', object, result: 'done', detail }])
      await tx.rowsAndCommit(done, [])
      return { jobs: jobs.length, restores: restores.length }
    })
  } finally {
    await db.destroy()
  }
}

/** An instant of the time that the database does not know of. */
function unknown(decision: DueDecision, madeAt: Date): DueDecision {
  const reason = `the station was restored from a backup of ${madeAt.toISOString()}: what ran at that instant is not known to it`
  const rows = decision.rows.map((row) =>
    row.state === 'ended' && row.outcome === 'missed' ? { ...row, reason } : row,
  )
  return { ...decision, rows }
}
