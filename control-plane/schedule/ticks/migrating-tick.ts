import { FleetError, toFleetError } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/logger.ts'
import type { Caller } from '../../core/caller.ts'
import type { Datasets } from '../../core/datasets.ts'
import type { FleetView } from '../../core/fleet-view.ts'
import { createMoveOrders, moveCaller } from '../../core/instance-move-orders.ts'
import { isForward, type Turn, turnOf, turnOfStopped, undo } from '../../core/instance-move-steps.ts'
import type { MovePhase } from '../../core/instance-moves.ts'
import type { InstanceOrders } from '../../core/instances.ts'
import type { PointOrders } from '../../core/point-orders.ts'
import { type MoveTickStore, moveDirectory, type OwedMove } from '../../db/stores/move-tick-store.ts'
import { onceMore } from '../once-more.ts'
import { isHopeless } from './firing-tick.ts'

const LIMIT = 100
/** Rounds of one tick, so that it ends: most moves go two phases on at once. */
const MAX_ROUNDS = 4
const AGAIN_MS = 5_000
/** Of a deletion, which is looked after once it is placed. */
const LOOK_MS = 1_000
/** Until a host has told what it has now, when that may be more than it should. */
const LISTED_MS = 30_000

/** How often a step is tried before what was done is taken back, or what it would have deleted stays: those while it is down are few. */
const TRIES: Readonly<Partial<Record<MovePhase, number>>> = {
  ...{ copy: 720, precopy: 720, stop: 720, final: 12, switch: 12 },
  ...{ discard: 600, tidy: 600 },
}

/** Takes every move one step on, each order linked in the transaction that writes it. */
export function createMigratingTick(deps: {
  readonly store: MoveTickStore
  readonly points: Pick<PointOrders, 'order' | 'restore' | 'delete'>
  readonly instances: Pick<InstanceOrders, 'start' | 'stop'>
  readonly datasets: Pick<Datasets, 'delete'>
  readonly fleet: FleetView
  readonly cancel: (caller: Caller, jobId: string) => Promise<void>
  readonly now: () => Promise<number>
  readonly logger: Logger
}): () => Promise<void> {
  const { store, points, datasets, fleet, now, logger } = deps
  const orders = createMoveOrders(deps)

  async function turn(move: OwedMove, to: Turn, atMs: number): Promise<void> {
    await store.turn(move, to, atMs)
    logger.info({ event: 'migration.turned', migration: move.id, from: move.standing.phase, to: to.phase })
  }

  async function advance(move: OwedMove, atMs: number): Promise<void> {
    const { standing, end } = move
    if (end !== null) {
      const state = standing.phase === 'switch' ? await store.there(move) : undefined
      const there = { isKnown: fleet.knows(move.toHost), isThere: state !== undefined }
      const next = turnOf(standing, end, there)
      if (next === undefined) return turn(move, { phase: standing.phase }, atMs + AGAIN_MS)
      const isDoubtful = next.unsure === true && next.phase !== 'switch'
      return turn(move, next, isDoubtful ? atMs + LISTED_MS : atMs)
    }
    const stopped = turnOfStopped(standing)
    if (stopped) return turn(move, stopped, atMs)
    if (standing.phase === 'discard') return discard(move, atMs)
    if (standing.phase === 'tidy') return tidy(move, atMs)
    if (standing.phase === 'restart' && !(await mayRestart(move, atMs))) return
    await place(move, atMs)
  }

  async function place(move: OwedMove, atMs: number): Promise<void> {
    const { standing, id, stepId } = move
    try {
      const dataset = move.datasetId === null ? undefined : await store.dataset(move.datasetId)
      const ordered = {
        ...move,
        start: move.start ?? standing.wasRunning === true,
        directory: moveDirectory(id),
        datasetName: dataset?.name,
      }
      await orders[standing.phase]?.(ordered, { kind: 'move', id: stepId, atMs })
    } catch (error) {
      await unplaced(move, error, atMs)
    }
  }

  async function unplaced(move: OwedMove, error: unknown, atMs: number): Promise<void> {
    const { standing } = move
    const { code, message } = toFleetError(error)
    logger.warn({ event: 'migration.unplaced', migration: move.id, phase: standing.phase, code, error: String(error) })
    if (standing.isUnsure && code === 'exists') {
      // The first order had made it, and its host has listed it since.
      return turn(move, { phase: 'tidy', outcome: 'moved' }, atMs)
    }
    const isOver = isHopeless(error) || move.tries >= (TRIES[standing.phase] ?? Number.POSITIVE_INFINITY)
    if (isOver && isForward(standing.phase) && !standing.isUnsure) {
      return turn(move, undo(standing, { outcome: 'failed', reason: message }), atMs)
    }
    if (isHopeless(error) && standing.phase === 'restart') {
      return turn(move, { phase: 'discard', reason: `the original could not be started again: ${message}` }, atMs)
    }
    await store.postpone(move, message, atMs + AGAIN_MS)
  }

  /** Where its new host's end was not told at first, not while it runs there; nor when somebody froze it, who will see to it. */
  async function mayRestart(move: OwedMove, atMs: number): Promise<boolean> {
    if (move.instanceState === 'FROZEN') {
      await turn(move, { phase: 'discard' }, atMs)
      return false
    }
    if (!move.standing.isUnsure) return true
    const state = fleet.isOnline(move.toHost) ? await store.there(move) : 'perhaps running'
    if (state === undefined || state === 'STOPPED') return true
    const why = `'${move.name}' is ${state} on host '${move.toHost}': the original is started when it is not`
    await store.postpone(move, why, atMs + AGAIN_MS)
    return false
  }

  async function discard(move: OwedMove, atMs: number): Promise<void> {
    const dataset = move.datasetId === null ? undefined : await store.dataset(move.datasetId)
    if (dataset === undefined) return turn(move, { phase: 'tidy' }, atMs)
    await remove(move, atMs, {
      isOrdered: dataset.state !== 'available',
      what: `the dataset '${dataset.name}' on host '${move.toHost}'`,
      next: 'tidy',
      // Whoever has the name by now may be another.
      act: () =>
        datasets.delete(moveCaller(move), { name: dataset.name, ifMatch: (found) => found.id === move.datasetId }),
    })
  }

  async function tidy(move: OwedMove, atMs: number): Promise<void> {
    const [point] = await store.points(move)
    if (point === undefined) return turn(move, { phase: 'ended' }, atMs)
    await remove(move, atMs, {
      isOrdered: point.deleting,
      what: `its points below '${moveDirectory(move.id)}'`,
      next: 'ended',
      act: () => points.delete(moveCaller(move), point.id),
    })
  }

  /** One deletion after the other; one that was ordered is looked after until it is gone. */
  async function remove(
    move: OwedMove,
    atMs: number,
    given: {
      readonly isOrdered: boolean
      readonly what: string
      readonly next: 'tidy' | 'ended'
      readonly act: () => Promise<unknown>
    },
  ): Promise<void> {
    const { isOrdered, what, next, act } = given
    if (move.tries >= (TRIES[move.standing.phase] ?? 0)) {
      return turn(move, { phase: next, reason: `${what} could not be deleted` }, atMs)
    }
    try {
      if (!isOrdered) await act()
      await store.postpone(move, null, atMs + LOOK_MS)
    } catch (error) {
      const { code, message } = toFleetError(error)
      logger.warn({ event: 'migration.undeleted', migration: move.id, code, error: String(error) })
      await store.postpone(move, `${what} cannot be deleted: ${message}`, atMs + AGAIN_MS)
    }
  }

  /** What goes on: stopped when somebody asked, told of when its host is silent. */
  async function watch(): Promise<void> {
    for (const move of await store.underWay(LIMIT)) {
      const isLate = move.phase === 'switch'
      if (move.isStopped && isForward(move.phase) && !isLate && move.state !== 'cancelling') {
        await deps.cancel(moveCaller(move), move.jobId)
      }
      const silent = `host '${move.host}' is silent`
      const waiting = isLate
        ? `${silent}: until it tells how it ended, it may run there, and the original stays stopped`
        : silent
      const told = fleet.isOnline(move.host) ? null : waiting
      if (told !== move.waiting) await store.tell(move.id, told)
    }
  }

  async function round(): Promise<void> {
    await watch()
    for (let n = 0; n < MAX_ROUNDS; n += 1) {
      const atMs = await now()
      const owed = await store.claim({ nowMs: atMs, limit: LIMIT })
      for (const move of owed) await advance(move, atMs).catch((error: unknown) => tellOf(move, error))
      if (owed.length === 0) return
    }
  }

  /** Its lease ends, and then it is tried again. Whatever it was, it holds up no other. */
  function tellOf(move: OwedMove, error: unknown): void {
    logger[error instanceof FleetError ? 'warn' : 'error']({
      event: 'migration.stuck',
      migration: move.id,
      error: String(error),
    })
  }

  return onceMore(round)
}
