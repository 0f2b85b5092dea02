import type { RetentionPoint } from './retention.ts'

/** A point whose bases are walked; cycles, which no agent makes, end the walk. */
type Chained = Pick<RetentionPoint, 'id' | 'bases'>

/** Whether a point is good and can be restored: so are all that it is restored from, and none of them is lost. */
export function soundnessOf(points: readonly RetentionPoint[]): (point: RetentionPoint) => boolean {
  const byId = indexed(points)
  const known = new Map<string, boolean>()
  const isSound = (point: RetentionPoint | undefined): boolean => {
    if (point === undefined || point.status !== 'good' || point.damaged) return false
    const before = known.get(point.id)
    if (before !== undefined) return before
    known.set(point.id, false)
    const sound = point.bases.every((id) => isSound(byId.get(id)))
    known.set(point.id, sound)
    return sound
  }
  return isSound
}

/** Everything that points which stay are restored from, each with the one that needs it. */
export function basesNeeded(points: readonly Chained[], staying: Iterable<string>): Map<string, string> {
  const byId = indexed(points)
  const needed = new Map<string, string>()
  const waiting = [...staying]
  for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
    for (const base of byId.get(id)?.bases ?? []) {
      if (needed.has(base)) continue
      needed.set(base, id)
      waiting.push(base)
    }
  }
  return needed
}

/** Each point before those that it is restored from, otherwise in their order. */
export function dependantsFirst<Point extends Chained>(points: readonly Point[]): Point[] {
  const byId = indexed(points)
  const depths = new Map<string, number>()
  const depthOf = (id: string): number => {
    const before = depths.get(id)
    if (before !== undefined) return before
    depths.set(id, 0)
    const depth = 1 + Math.max(0, ...(byId.get(id)?.bases ?? []).map(depthOf))
    depths.set(id, depth)
    return depth
  }
  return points.toSorted((a, b) => depthOf(b.id) - depthOf(a.id))
}

function indexed<Point extends Chained>(points: readonly Point[]): Map<string, Point> {
  return new Map(points.map((point) => [point.id, point]))
}
