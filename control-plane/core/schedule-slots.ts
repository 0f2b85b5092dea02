/** How much of one host and one target is wanted or in use. */
export interface PlaceLoad {
  /** '' when nobody knows it: such runs fail as soon as they fire. */
  readonly host: string
  /** A target's id, or `local`. */
  readonly place: string
  readonly waiting: number
  /** Of those that wait the longest, epoch ms. */
  readonly oldestMs: number
  readonly busy: number
}

export interface SlotBounds {
  readonly perHost: number
  /** The host's own backup root is bounded with the host. */
  readonly perTarget: number
}

export interface Grant {
  readonly host: string
  readonly place: string
  readonly count: number
}

/** At most so many are granted in one go. */
const GRANTS_MAX = 1_000

/** `full`: places whose slots are all taken, now or by this. */
export interface SlotDecision {
  readonly grants: readonly Grant[]
  readonly full: readonly Pick<PlaceLoad, 'host' | 'place'>[]
}

/** Who may fire now: first those that wait the longest, while there are slots on their host and their target. */
export function grantSlots(
  loads: readonly PlaceLoad[],
  bounds: SlotBounds,
  isOnline: (host: string) => boolean,
): SlotDecision {
  const onHost = new Map<string, number>()
  const onTarget = new Map<string, number>()
  for (const { host, place, busy } of loads) {
    onHost.set(host, (onHost.get(host) ?? 0) + busy)
    // What goes on where nobody is there takes nothing of a target that others wait for: it may be away for good.
    if (host === '' || isOnline(host)) onTarget.set(place, (onTarget.get(place) ?? 0) + busy)
  }
  let left = GRANTS_MAX
  const grants: Grant[] = []
  const full: Pick<PlaceLoad, 'host' | 'place'>[] = []
  for (const { host, place, waiting } of loads.toSorted((a, b) => a.oldestMs - b.oldestMs)) {
    if (waiting === 0 || (host !== '' && !isOnline(host))) continue
    const ofHost = host === '' ? waiting : bounds.perHost - (onHost.get(host) ?? 0)
    const ofTarget = host === '' || place === 'local' ? waiting : bounds.perTarget - (onTarget.get(place) ?? 0)
    const slots = Math.max(0, Math.min(waiting, ofHost, ofTarget))
    if (slots < waiting) full.push({ host, place })
    const count = Math.min(slots, left)
    if (count === 0) continue
    left -= count
    onHost.set(host, (onHost.get(host) ?? 0) + count)
    onTarget.set(place, (onTarget.get(place) ?? 0) + count)
    grants.push({ host, place, count })
  }
  return { grants, full }
}
