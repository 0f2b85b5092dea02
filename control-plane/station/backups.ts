import { setInterval } from 'node:timers'
import { FleetError, toFleetError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import type { Caller } from '../core/caller.ts'
import { duesBetween, type Recurrence } from '../core/recurrence.ts'
import { decideBackup, type StationBackup } from '../core/station.ts'
import type { Committed } from '../db/stores/change-write.ts'
import type { NewestBackups, StationStore, WrittenFile } from '../db/stores/station-store.ts'
import { evict } from './shelf.ts'

/** Well within the lease. */
const EXTEND_MS = 30_000
/** No two dues of a day's time are further apart than that. */
const LOOK_BACK_MS = 3 * 24 * 3_600_000
const MAX_DUES = 10

export interface StationBackupSettings {
  readonly directory: string
  /** The newest that stay. */
  readonly keep: number
  readonly recurrence: Recurrence
}

export interface StationBackups {
  /** @throws unavailable where no directory is set; conflict while one is made. */
  begin(caller: Caller): Promise<StationBackup>
  /** Makes what is due, by one of the replicas, and tells when one is missing. */
  tick(): Promise<void>
  /** As of the last tick; when the newest good one began, null before there is one. */
  state(): { readonly goodAt: Date | null; readonly overdue: boolean }
  stop(): Promise<void>
}

export function createStationBackups(deps: {
  readonly store: StationStore
  /** Undefined: this replica makes none. */
  readonly settings: StationBackupSettings | undefined
  readonly station: () => Promise<string>
  readonly write: (id: string, signal: AbortSignal) => Promise<WrittenFile>
  readonly now: () => Promise<number>
  readonly webhook: boolean
  readonly afterCommit: (committed: Committed) => void
  readonly logger: Logger
}): StationBackups {
  const { store, settings, logger } = deps
  const stopping = new AbortController()
  const running = new Set<Promise<void>>()
  let seen: NewestBackups | undefined

  function start({ id }: StationBackup, { directory, keep }: StationBackupSettings): void {
    const run = make(id, directory, keep)
      .catch((error: unknown) => logger.warn({ event: 'station.backup_untold', backup: id, error: String(error) }))
      .finally(() => running.delete(run))
    running.add(run)
  }

  async function make(id: string, directory: string, keep: number): Promise<void> {
    const startedMs = performance.now()
    const extending = setInterval(() => store.extend(id).catch(() => undefined), EXTEND_MS)
    try {
      const written = await deps.write(id, stopping.signal)
      await store.endGood(id, written)
      const ms = Math.round(performance.now() - startedMs)
      logger.info({ event: 'station.backed_up', backup: id, file: written.path, bytes: written.storedBytes, ms })
      // Behind a good one only, which stays whatever happens here.
      const gone = await evict(directory, { station: await deps.station(), keep, made: written.path })
      await store.evicted(gone)
    } catch (error) {
      const { code, message, detail } = toFleetError(error)
      const reason = stopping.signal.aborted ? 'the control plane was stopped in the middle of it' : message
      logger.warn({ event: 'station.backup_failed', backup: id, code, error: reason, detail })
      await store.endFailed(id, reason)
    } finally {
      clearInterval(extending)
    }
  }

  async function tell(dueMs: number, nowMs: number): Promise<void> {
    seen = await store.newest()
    const { overdue } = decideBackup({ nowMs, dueMs, ...timesOf(seen) })
    if (overdue === seen.overdue) return
    const due_at = overdue ? new Date(dueMs).toISOString() : null
    const reason = overdue ? (seen.reason ?? 'none was made') : null
    const body = { state: overdue ? 'overdue' : 'recovered', due_at } as const
    const committed = await store.tellOverdue(body, reason, deps.webhook)
    if (committed === undefined) return
    deps.afterCommit(committed)
    seen = { ...seen, overdue }
    logger[overdue ? 'warn' : 'info']({ event: `station.backup_${body.state}`, reason })
  }

  return {
    async begin(caller) {
      if (settings === undefined)
        throw new FleetError('unavailable', 'the station has no directory for its backups: HOLDFAST_STATION_BACKUP_DIR')
      const backup = await store.beginAsked(caller)
      if (backup === undefined) throw new FleetError('conflict', 'the station is being backed up already')
      start(backup, settings)
      return backup
    },

    async tick() {
      if (settings === undefined || stopping.signal.aborted) return
      const nowMs = await deps.now()
      const dueMs = duesBetween(settings.recurrence, nowMs - LOOK_BACK_MS, nowMs, MAX_DUES).at(-1)
      if (dueMs === undefined) return
      const isDue = (newest: NewestBackups) => decideBackup({ nowMs, dueMs, ...timesOf(newest) }).run
      if (running.size === 0 && isDue(await store.newest())) {
        const backup = await store.beginDue(isDue)
        if (backup !== undefined) start(backup, settings)
      }
      await tell(dueMs, nowMs)
    },

    state: () => ({ goodAt: seen?.goodAt ?? null, overdue: seen?.overdue ?? false }),

    async stop() {
      stopping.abort(new FleetError('unavailable', 'the control plane is stopping'))
      await Promise.all(running)
    },
  }
}

function timesOf({ goodAt, failedAt, runningAt }: NewestBackups) {
  const ms = (at: Date | null) => at?.getTime() ?? null
  return { goodMs: ms(goodAt), failedMs: ms(failedAt), runningMs: ms(runningAt) }
}
