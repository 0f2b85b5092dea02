import { FleetError } from '../shared/errors.ts'
import type { Logger } from '../shared/logger.ts'
import type { Caller } from './core/caller.ts'
import type { Datasets } from './core/datasets.ts'
import type { FeedEvent } from './core/feed.ts'
import type { FleetView } from './core/fleet-view.ts'
import { createInstanceMoves } from './core/instance-move-operations.ts'
import type { InstanceMoves } from './core/instance-moves.ts'
import type { InstanceOrders, InstanceReader } from './core/instances.ts'
import type { Jobs } from './core/jobs.ts'
import type { PointOrders } from './core/point-orders.ts'
import type { Targets } from './core/targets.ts'
import type { Sql } from './db/sql.ts'
import { createClock } from './db/stores/clock-store.ts'
import { createInstanceMoveStore } from './db/stores/instance-move-store.ts'
import { createMoveTickStore } from './db/stores/move-tick-store.ts'
import type { Tick } from './schedule/bree.ts'
import { createMigratingTick } from './schedule/ticks/migrating-tick.ts'
import { createWaker } from './schedule/waker.ts'

const EVERY_MS = 1_000

export interface OpenMigrations {
  readonly migrations: InstanceMoves
  readonly tick: Tick
  /** Ends of jobs are what moves wait for, most of all while an instance is down. */
  onEvents(events: readonly FeedEvent[]): void
  stop(): Promise<void>
}

/** Instances that go to other hosts. */
export function openMigrations(deps: {
  readonly sql: Sql
  readonly points: PointOrders
  readonly targets: Pick<Targets, 'get'>
  readonly reader: Pick<InstanceReader, 'find' | 'named'>
  readonly instances: Pick<InstanceOrders, 'start' | 'stop'>
  readonly datasets: Pick<Datasets, 'delete'>
  readonly jobs: Pick<Jobs, 'cancel'>
  readonly fleet: FleetView
  readonly logger: Logger
  /** Default: the time of Postgres. */
  readonly now?: () => Promise<number>
}): OpenMigrations {
  const { sql, points, targets, reader, instances, datasets, jobs, fleet, logger } = deps
  const now = deps.now ?? createClock(sql)
  const store = createMoveTickStore(sql)
  /** Jobs of moves that this replica saw under way. */
  let awaited: ReadonlySet<string> = new Set()

  async function cancel(caller: Caller, jobId: string): Promise<void> {
    try {
      await jobs.cancel(caller, jobId)
    } catch (error) {
      // It has ended in this moment.
      if (!(error instanceof FleetError && ['conflict', 'not_found'].includes(error.code))) throw error
    }
  }

  const advance = createMigratingTick({ store, points, instances, datasets, fleet, cancel, now, logger })
  async function run(): Promise<void> {
    await advance()
    awaited = new Set((await store.underWay(100)).map(({ jobId }) => jobId))
  }
  const waker = createWaker(run, (error) => logger.warn({ event: 'migration.unwoken', error: String(error) }))

  return {
    migrations: createInstanceMoves({
      ...{ store: createInstanceMoveStore(sql), targets, instances: reader, fleet, wake: waker.wake, cancel },
    }),
    tick: { everyMs: EVERY_MS, run },
    onEvents(events) {
      if (events.some(({ type, jobId }) => ENDS.has(type) && jobId !== null && awaited.has(jobId))) waker.wake()
    },
    stop: waker.stop,
  }
}

const ENDS = new Set(['job.succeeded', 'job.failed', 'job.cancelled'])
