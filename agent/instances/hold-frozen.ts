import { FleetError } from '../../shared/errors.ts'
import type { Freeze, FreezeEnd } from './instances.ts'
import type { ThawOrder } from './thaw-order.ts'
import type { Watchdogs } from './watchdog.ts'

export interface HoldRequest {
  readonly order: ThawOrder
  readonly maxMs: number
  readonly signal: AbortSignal
  freeze(): Promise<void>
  /** Must not depend on the job's signal. @returns whether it was still frozen, as far as the technology tells */
  thaw(): Promise<boolean>
  /** Asked after the thaw; without it, it is (`FreezeEnd.isFlushed`). */
  isFlushed?(): boolean
}

/** What was frozen by somebody else stays so. */
export const FROZEN_BEFORE: Freeze = {
  held: false,
  thaw: async () => ({ intact: true, isFlushed: true, heldMs: 0 }),
  [Symbol.asyncDispose]: async () => undefined,
}

/**
 * armed → frozen → thawed → released. Whatever fails or dies in between, the watchdog is released only after a thaw that
 * succeeded; else it thaws at its deadline.
 */
export async function holdFrozen(request: HoldRequest, watchdogs: Watchdogs): Promise<Freeze> {
  const watchdog = await watchdogs.arm(request.order, request.maxMs)
  const startedAt = performance.now()
  let end: Promise<FreezeEnd> | undefined
  const thaw = async () => {
    const wasFrozen = await request.thaw()
    const heldMs = performance.now() - startedAt
    const isFlushed = request.isFlushed?.() ?? true
    return { intact: (await watchdog.release()) && wasFrozen, isFlushed, heldMs }
  }
  const thawOnce = () => {
    end ??= thaw().catch((thrown: unknown) => {
      end = undefined // may be tried again
      throw thrown
    })
    return end
  }
  try {
    await request.freeze()
    if (request.signal.aborted) throw new FleetError('cancelled', 'cancelled')
  } catch (thrown) {
    await thawOnce().catch(() => undefined) // the watchdog is left to it; why it would not freeze matters more
    throw thrown
  }
  // A watchdog that dies would leave a job that hangs as the only one to thaw.
  void watchdog.expired.then(() => thawOnce()).catch(() => undefined)
  return { held: true, thaw: thawOnce, [Symbol.asyncDispose]: async () => void (await thawOnce()) }
}
