import { randomInt } from 'node:crypto'
import { targetNumber } from './identity.ts'

/** More are forgotten, the oldest first: 100,000 targets made and gone again while one tgtd ran. */
const MAX_USED = 100_000
const MAX_FIRST = 2 ** 27

/**
 * Numbers of targets that one tgtd has had. None is given twice: tgtd knows a login that is under way by the number alone, and would let
 * one that began at a target that is gone end in whichever has its number.
 */
export interface UsedTids {
  /** A number of that volume for a new target: while tgtd is new, always the same for its first. */
  next(guid: string): number
  /** Of a target that is there. */
  add(tid: number): void
}

/** @param adopted an earlier process of this agent gave numbers that nobody knows any more: one of many is begun at, by chance */
export function usedTids(adopted: boolean): UsedTids {
  const used = new Set<number>()
  const first = adopted ? randomInt(1, MAX_FIRST) : 0

  function add(tid: number): void {
    used.delete(tid)
    used.add(tid)
    const [oldest] = used
    if (used.size > MAX_USED && oldest !== undefined) used.delete(oldest)
  }

  return {
    next(guid) {
      let nth = first
      while (used.has(targetNumber(guid, nth))) nth += 1
      const tid = targetNumber(guid, nth)
      add(tid)
      return tid
    },
    add,
  }
}
