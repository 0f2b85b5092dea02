import { FleetError, toFleetError } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/logger.ts'
import type { FleetView } from '../../core/fleet-view.ts'
import type { PointOrders } from '../../core/point-orders.ts'
import { failed } from '../../core/schedule-ends.ts'
import { grantSlots, type PlaceLoad, type SlotBounds } from '../../core/schedule-slots.ts'
import { pointSource, taskCaller } from '../../core/schedule-sources.ts'
import type { FiringRun, FiringStore, Wait } from '../../db/stores/firing-store.ts'
import { onceMore } from '../once-more.ts'

const ABANDONED_LIMIT = 500
/** Rounds of one tick, so that it ends. */
const MAX_ROUNDS = 100
/** A run that could not be placed now is tried again then. */
const AGAIN_MS = 5_000

/** What ends a run at once; anything else may be otherwise in a moment, and the run waits as long as it may. */
const HOPELESS: ReadonlySet<string> = new Set(['invalid', 'not_found', 'refused', 'forbidden', 'exists', 'corrupt'])

/** Gives slots to runs that wait, and places their orders: each is linked to its run in the transaction that writes it. */
export function createFiringTick(deps: {
  readonly store: FiringStore
  readonly points: Pick<PointOrders, 'order'>
  readonly fleet: Pick<FleetView, 'isOnline'>
  readonly bounds: SlotBounds
  readonly now: () => Promise<number>
  readonly logger: Logger
}): () => Promise<void> {
  const { store, points, fleet, bounds, now, logger } = deps

  async function place({ id, host, schedule }: FiringRun, atMs: number): Promise<void> {
    const { targetId, directory, features, name } = schedule
    try {
      const request = {
        source: pointSource(schedule),
        target: targetId ?? undefined,
        path: directory,
        incremental: features.includes('incremental'),
        compress: features.includes('compress'),
        backup: { scheduleId: schedule.id, name },
      }
      const task = { kind: 'run', id, atMs } as const
      const caller = taskCaller({ ...schedule, kind: 'schedule' })
      const { jobId } = await points.order(caller, request, task, host === '' ? undefined : host)
      logger.info({ event: 'schedule.fired', schedule: schedule.id, run: id, jobId })
    } catch (error) {
      const { code, message } = toFleetError(error)
      logger.warn({ event: 'schedule.unfired', schedule: schedule.id, run: id, code, error: String(error) })
      // Another replica may have placed it since.
      if (HOPELESS.has(code)) await store.end({ id, from: 'granted' }, atMs, failed(message))
      else await store.postpone(id, { reason: `it could not begin: ${message}`, untilMs: atMs + AGAIN_MS })
    }
  }

  /** Those that a round could not place, for whatever reason, a later one places when their lease is over. */
  async function placeAll(runs: readonly FiringRun[], atMs: number): Promise<void> {
    await Promise.all(runs.map((run) => place(run, atMs)))
  }

  function choose(loads: readonly PlaceLoad[]) {
    const { grants, full } = grantSlots(loads, bounds, (host) => fleet.isOnline(host))
    const away = loads.filter(({ host, waiting }) => waiting > 0 && host !== '' && !fleet.isOnline(host))
    const waits: Wait[] = [
      ...away.map(({ host, place }) => ({ host, place, reason: `host '${host}' was offline` })),
      ...full.map(({ host, place }) => {
        return { host, place, reason: `every slot of host '${host}' or of its target was taken` }
      }),
    ]
    return { grants, waits }
  }

  async function round(): Promise<void> {
    const nowMs = await now()
    await placeAll(await store.abandoned({ nowMs, limit: ABANDONED_LIMIT }), nowMs)
    let granted: readonly FiringRun[] = []
    for (let n = 0; n < MAX_ROUNDS; n += 1) {
      const atMs = await now()
      // While some are placed, the next are given their slots.
      const [next] = await Promise.all([store.grant(atMs, choose), placeAll(granted, atMs)])
      if (next.length === 0) return
      granted = next
    }
    await placeAll(granted, await now())
  }

  return onceMore(round)
}

/** Whether work is refused for good. */
export function isHopeless(error: unknown): boolean {
  return error instanceof FleetError && HOPELESS.has(error.code)
}
