import { readFileSync } from 'node:fs'
import { ConfigError } from '../shared/config.ts'
import { FleetError } from '../shared/errors.ts'
import type { Logger } from '../shared/logger.ts'
import type { ControlPlaneConfig } from './config.ts'
import type { Caller } from './core/caller.ts'
import type { Datasets } from './core/datasets.ts'
import type { FeedEvent } from './core/feed.ts'
import type { FleetView } from './core/fleet-view.ts'
import type { Jobs } from './core/jobs.ts'
import type { InstanceNames } from './core/point-instances.ts'
import type { PointOrders } from './core/point-orders.ts'
import { createRestoreTasks } from './core/restore-task-operations.ts'
import type { RestoreTasks } from './core/restore-tasks.ts'
import { createSchedules } from './core/schedule-operations.ts'
import type { Calendar } from './core/schedule-requests.ts'
import type { SlotBounds } from './core/schedule-slots.ts'
import type { Schedules } from './core/schedules.ts'
import type { Targets } from './core/targets.ts'
import type { Sql } from './db/sql.ts'
import { createAlertStore, createLastAlarm } from './db/stores/alert-store.ts'
import type { Committed } from './db/stores/change-write.ts'
import { createClock } from './db/stores/clock-store.ts'
import { createFiringStore } from './db/stores/firing-store.ts'
import { createPruneStore } from './db/stores/prune-store.ts'
import { createRestoreTaskStore } from './db/stores/restore-task-store.ts'
import { createRestoreTickStore } from './db/stores/restore-tick-store.ts'
import { createRunStore } from './db/stores/run-store.ts'
import { createScheduleStore } from './db/stores/schedule-store.ts'
import { createSupersededStore } from './db/stores/superseded-store.ts'
import type { Tick } from './schedule/bree.ts'
import { createAlertTick } from './schedule/ticks/alert-tick.ts'
import { createDueTick } from './schedule/ticks/due-tick.ts'
import { createFiringTick } from './schedule/ticks/firing-tick.ts'
import { createMovingTick } from './schedule/ticks/moving-tick.ts'
import { createPruningTick } from './schedule/ticks/pruning-tick.ts'
import { createRestoreTick } from './schedule/ticks/restore-tick.ts'
import { createSettlingTick } from './schedule/ticks/settling-tick.ts'
import { createSupersededTick } from './schedule/ticks/superseded-tick.ts'
import { createWaker } from './schedule/waker.ts'
import { createWebhook, type Webhook } from './schedule/webhook.ts'

const SECOND_MS = 1_000
/** For what nobody was woken for. */
const SETTLE_MS = 5_000
const PRUNE_MS = 5_000
const DELIVER_MS = 2_000
const HOUR_MS = 3_600_000

export interface ScheduleSettings {
  readonly calendar: Calendar
  readonly slots: SlotBounds
  readonly spreadMs: number
  readonly graceMs: number
  /** How long what retention deletes can be had back. */
  readonly trashMs: number
}

type TickName = 'due' | 'firing' | 'settling' | 'restores' | 'pruning' | 'superseded' | 'alarms' | 'alerts'

export interface OpenSchedules {
  readonly schedules: Schedules
  readonly restoreTasks: RestoreTasks
  readonly ticks: Readonly<Record<TickName, Tick>>
  overdueCount(): number
  /** Ends of jobs about points are what runs wait for. */
  onEvents(events: readonly FeedEvent[]): void
  stop(): Promise<void>
}

/** Backups that are made again and again, and restores by their names. */
export function openSchedules(deps: {
  readonly sql: Sql
  readonly origin: string
  readonly points: PointOrders
  readonly targets: Pick<Targets, 'get'>
  readonly instances: InstanceNames
  readonly datasets: Pick<Datasets, 'delete'>
  readonly jobs: Pick<Jobs, 'cancel'>
  readonly fleet: FleetView
  readonly settings: ScheduleSettings
  readonly webhook: Webhook | undefined
  readonly afterCommit: (committed: Committed) => void
  readonly logger: Logger
  /** Default: the time of Postgres. */
  readonly now?: () => Promise<number>
}): OpenSchedules {
  const { sql, points, targets, instances, datasets, jobs, fleet, settings, webhook, afterCommit, logger } = deps
  const now = deps.now ?? createClock(sql)
  const { graceMs, calendar } = settings

  async function cancel(caller: Caller, jobId: string): Promise<void> {
    try {
      await jobs.cancel(caller, jobId)
    } catch (error) {
      // It has ended in this moment.
      if (!(error instanceof FleetError && ['conflict', 'not_found'].includes(error.code))) throw error
    }
  }

  const runs = createRunStore(sql)
  const firings = createFiringStore(sql)
  const due = createDueTick({ store: runs, now })
  const firing = createFiringTick({ store: firings, points, fleet, bounds: settings.slots, now, logger })
  const settling = createSettlingTick({ store: firings, points, cancel, graceMs, now, logger })
  const restores = createRestoreTick({ store: createRestoreTickStore(sql), points, cancel, now, logger })
  const prunes = createPruneStore(sql)
  const moving = createMovingTick({ store: prunes, points, now, logger })
  const pruning = createPruningTick({ store: prunes, points, move: moving, windowMs: settings.trashMs, now, logger })
  const superseded = createSupersededTick({ store: createSupersededStore(sql), datasets, now, logger })
  const alerts = createAlertTick({
    ...{ store: createAlertStore(sql, deps.origin), webhook, graceMs, now, afterCommit, logger },
  })
  /** Jobs about points that have ended since they were last looked at. */
  let ended: string[] = []
  const waker = createWaker(
    async () => {
      const jobIds = ended
      ended = []
      await settling.endsOf(jobIds)
      await firing()
      await restores()
      await moving()
    },
    (error) => logger.warn({ event: 'schedule.unwoken', error: String(error) }),
  )
  const { wake } = waker
  const common = { targets, instances, fleet, now, wake, cancel }

  return {
    schedules: createSchedules({
      ...{
        ...common,
        store: createScheduleStore(sql, createLastAlarm(webhook !== undefined)),
        calendar,
        spreadMs: settings.spreadMs,
        catchUp: due,
      },
    }),
    restoreTasks: createRestoreTasks({ ...common, store: createRestoreTaskStore(sql) }),
    ticks: {
      due: { everyMs: SECOND_MS, run: due },
      firing: { everyMs: SECOND_MS, run: firing },
      settling: { everyMs: SETTLE_MS, run: settling.all },
      restores: { everyMs: SECOND_MS, run: restores },
      pruning: { everyMs: PRUNE_MS, run: pruning },
      superseded: { everyMs: PRUNE_MS, run: superseded },
      alarms: { everyMs: SECOND_MS, run: alerts.raise },
      alerts: { everyMs: DELIVER_MS, run: alerts.deliver },
    },
    overdueCount: alerts.overdueCount,
    onEvents(events) {
      const jobIds = events.flatMap((event) => (isEndOfPointJob(event) && event.jobId !== null ? [event.jobId] : []))
      if (jobIds.length === 0) return
      ended.push(...jobIds)
      wake()
    },
    stop: waker.stop,
  }
}

const ENDS = new Set(['job.succeeded', 'job.failed', 'job.cancelled'])

function isEndOfPointJob({ type, json }: FeedEvent): boolean {
  return ENDS.has(type) && json.includes('"kind":"point.')
}

export function scheduleSettings(config: ControlPlaneConfig): ScheduleSettings {
  return {
    calendar: { startUnit: config.HOLDFAST_QNAP_START_UNIT, timezone: config.HOLDFAST_TIMEZONE },
    slots: { perHost: config.HOLDFAST_HOST_SLOTS, perTarget: config.HOLDFAST_TARGET_SLOTS },
    spreadMs: config.HOLDFAST_SPREAD_SECONDS * SECOND_MS,
    graceMs: config.HOLDFAST_GRACE_SECONDS * SECOND_MS,
    trashMs: config.HOLDFAST_TRASH_HOURS * HOUR_MS,
  }
}

/** @throws ConfigError. */
export function openWebhook(config: ControlPlaneConfig, ownListeners: () => readonly string[]): Webhook | undefined {
  const { HOLDFAST_ALERT_WEBHOOK: url, HOLDFAST_ALERT_SECRET_FILE: file, HOLDFAST_ALERT_SECRET: text } = config
  if (url === undefined) return undefined
  const secret = file === undefined ? text : readSecret(file)
  if (secret === undefined || secret === '') {
    throw new ConfigError('HOLDFAST_ALERT_SECRET_FILE: is required with HOLDFAST_ALERT_WEBHOOK: it signs what is told')
  }
  return createWebhook({ url, secret, allowLoopback: config.HOLDFAST_ALERT_LOOPBACK === 'true', ownListeners })
}

/** @throws ConfigError naming the setting, and never what it holds. */
function readSecret(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    throw new ConfigError('HOLDFAST_ALERT_SECRET_FILE: cannot be read')
  }
}
