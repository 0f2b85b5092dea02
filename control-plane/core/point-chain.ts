import type { PointRef } from '../../shared/point-spec.ts'
import type { LockedPoint, PointFindings } from './orders.ts'

/** Points that a restore may have to read: with one more, the next is written as a whole. */
export const MAX_CHAIN = 16

export interface Chain {
  /** What the new point completes, oldest first; empty for a full one. */
  readonly bases: readonly PointRef[]
  /** Why it is a full one although an increment was asked for. */
  readonly fullReason: string | null
  /** It becomes a full archive, made of its bases and of what has changed. */
  readonly consolidate: boolean
}

/** @param wish `hasIdentity`: the fleet can open what lies encrypted on the target. */
export function chainOf(
  findings: PointFindings,
  wish: { readonly incremental: boolean; readonly hostId: string; readonly hasIdentity: boolean },
): Chain {
  if (!wish.incremental) return { bases: [], fullReason: null, consolidate: false }
  const base = findings.newestGood()
  const isHarmed = findings.damaged().length > 0
  if (base === undefined) {
    return full(
      isHarmed ? 'the good points that it could rest on were found damaged' : 'there is no good point to complete',
    )
  }
  if (base.hostId !== wish.hostId) return full(`the newest good point was made by another host, '${base.host}'`)
  const chain = chainThrough(findings, base)
  if (!chain?.every(isSound)) return full('a point that it would rest on is damaged or gone')
  // Not every job that finds damage can say in which archive of the chain it lies.
  const isSuspect = ({ id }: LockedPoint) => findings.damaged().some((point) => point.chain.includes(id))
  if (chain.some(isSuspect)) return full('a point that rests on the same ones was found damaged')
  const bases = chain.map(refOf)
  if (bases.length < MAX_CHAIN) return { bases, fullReason: null, consolidate: false }
  if (!wish.hasIdentity && chain.some((point) => point.encrypted)) {
    return full(`the chain has ${MAX_CHAIN} points, and without their key they cannot be brought together`)
  }
  return { bases, fullReason: null, consolidate: true }
}

/** A point as orders name it. */
export function refOf({ id, name, sumsSha256 }: LockedPoint): PointRef {
  return { id, name, ...(sumsSha256 === null ? {} : { sumsSha256 }) }
}

/** The bases of `point`, oldest first, then itself; undefined when one is not there. */
export function chainThrough(findings: PointFindings, point: LockedPoint): readonly LockedPoint[] | undefined {
  const bases = point.chain.flatMap((id) => findings.withPointId(id) ?? [])
  return bases.length === point.chain.length ? [...bases, point] : undefined
}

function isSound(point: LockedPoint): boolean {
  return point.status === 'good' && !point.isDamaged && !point.isDeleting
}

function full(fullReason: string): Chain {
  return { bases: [], fullReason, consolidate: false }
}
