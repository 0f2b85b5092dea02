import { FleetError } from '../../shared/errors.ts'
import type { OrderTarget } from '../../shared/point-spec.ts'
import type { FleetView } from './fleet-view.ts'
import type { Decision, LockedPoint } from './orders.ts'
import { refOf } from './point-chain.ts'
import { hostThatReads } from './point-orders.ts'

/** To the trash of its target, or back into its series. */
export type PointMove = 'point.trash' | 'point.untrash'

/** A move that did not succeed is ordered again after a minute, then after twice as long each time, and after an hour in the end. */
export const MOVE_AGAIN_SECONDS = { first: 60, most: 3_600 } as const
/** For four days. What is not in the trash by then is removed where it is; who wants a point back asks again. */
export const MAX_MOVES = 100

/** The point and its series are had alone: nothing reads it, and nothing is made beside it, while it moves. @throws conflict, unavailable. */
export function decideMove(question: {
  readonly kind: PointMove
  readonly point: LockedPoint
  readonly target: OrderTarget
  readonly fleet: FleetView
}): Omit<Decision, 'request' | 'interactive'> {
  const { kind, point, target, fleet } = question
  requireOwed(kind, point)
  const { id: hostId, name: host } = hostThatReads(fleet, point)
  const { id: pointId, name, sumsSha256 } = refOf(point)
  return {
    spec: {
      ...{ kind, target, series: point.series, pointId, name },
      ...(sumsSha256 === undefined ? {} : { sumsSha256 }),
    },
    host: { id: hostId, name: host },
    subject: null,
    holds: aloneWith(point),
  }
}

/** @throws conflict. */
function requireOwed(kind: PointMove, point: LockedPoint): void {
  if (point.isDeleting) throw new FleetError('conflict', 'the point is being deleted')
  if (!point.isTrashed) throw new FleetError('conflict', 'retention has not deleted the point')
  if (kind === 'point.untrash' && !point.isReturning) throw new FleetError('conflict', 'nobody wants the point back')
  if (kind === 'point.trash' && point.isReturning) throw new FleetError('conflict', 'the point is wanted back')
  if (point.status === 'failed') throw new FleetError('conflict', 'the point failed: it holds nothing')
}

export function aloneWith({ id, seriesId }: LockedPoint): Decision['holds'] {
  return [
    { lane: id, exclusive: true },
    { lane: seriesId, exclusive: true },
  ]
}

/** @throws conflict for a point that lies in the trash, or is on its way there or back. */
export function requireNotTrashed(point: { readonly trashedAt: Date | null } | { readonly isTrashed: boolean }): void {
  const isTrashed = 'isTrashed' in point ? point.isTrashed : point.trashedAt !== null
  if (isTrashed) throw new FleetError('conflict', 'the point was deleted by retention; take it back first')
}
