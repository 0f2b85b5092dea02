import { toFleetError } from '../../shared/errors.ts'
import { type Caller, hasRole, type Role, visibleGroup } from '../core/caller.ts'
import type { Credentials } from '../core/credentials.ts'
import type { Claim } from './claim.ts'

/** With the second that rights are trusted for, what is revoked ends within two; within milliseconds when Postgres tells. */
const SWEEP_MS = 1_000

/** Something that goes on for as long as its caller may have it. */
export interface Watched {
  readonly claim: Claim
  readonly caller: Caller
  readonly access: Role
  /** Called once, when the caller may no longer. */
  readonly end: () => void
}

/** Looks again and again at the credentials of those who follow the feed. */
export function createWatch(credentials: Credentials) {
  const watched = new Set<Watched>()
  let sweeping = false
  let sweepAgain = false

  /** Nobody is thrown out because Postgres cannot be asked: without it there is no news to tell either. */
  async function mayStay({ claim, caller, access }: Watched): Promise<boolean> {
    try {
      const now = await credentials.find(claim.shown, claim.group)
      return hasRole(now, access) && now.groupId === caller.groupId && visibleGroup(now) === visibleGroup(caller)
    } catch (error) {
      const { code } = toFleetError(error)
      return code !== 'unauthorized' && code !== 'forbidden'
    }
  }

  async function check(item: Watched): Promise<void> {
    if ((await mayStay(item)) || !watched.delete(item)) return
    item.end()
  }

  async function sweep(): Promise<void> {
    sweepAgain = true
    if (sweeping) return
    sweeping = true
    while (sweepAgain) {
      sweepAgain = false
      // Whatever ending one of them throws, the others are looked at, now and next time.
      await Promise.allSettled([...watched].map(check))
    }
    sweeping = false
  }

  const timer = setInterval(() => void sweep(), SWEEP_MS)
  timer.unref()
  credentials.onChange(() => void sweep())

  return {
    /** @returns what to call when it has ended by itself. */
    add(item: Watched): () => void {
      watched.add(item)
      return () => void watched.delete(item)
    },
    close: () => clearInterval(timer),
  }
}
