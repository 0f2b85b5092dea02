import { setTimeout as pause } from 'node:timers/promises'
import { FleetError } from '../../../shared/errors.ts'

/**
 * Jobs that hold one instance, one after the other: who finds it frozen by another would be told so when that lets it go. Whoever has waited as long
 * as any freeze may last goes on all the same.
 */
export interface HoldTurns {
  /** @returns what ends the turn; may be called again @throws cancelled */
  take(instance: string, options: { readonly waitMs: number; readonly signal: AbortSignal }): Promise<() => void>
}

export function createHoldTurns(): HoldTurns {
  /** The last turn that was asked for, by instance. */
  const last = new Map<string, Promise<void>>()
  return {
    async take(instance, { waitMs, signal }) {
      const before = last.get(instance)
      const { promise: turn, resolve } = Promise.withResolvers<void>()
      last.set(instance, turn)
      const leave = () => {
        resolve()
        if (last.get(instance) === turn) last.delete(instance)
      }
      if (before === undefined) return leave
      const waiting = new AbortController()
      try {
        await Promise.race([before, pause(waitMs, undefined, { signal: AbortSignal.any([signal, waiting.signal]) })])
      } catch (cause) {
        leave()
        throw new FleetError('cancelled', 'cancelled', { cause })
      } finally {
        waiting.abort()
      }
      return leave
    },
  }
}
