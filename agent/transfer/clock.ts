import { setTimeout as delay } from 'node:timers/promises'
import { FleetError } from '../../shared/errors.ts'

/** Time as an argument: tests pass their own. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number
  /** @throws FleetError `cancelled` */
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: (ms, signal) =>
    delay(ms, undefined, { signal }).catch(() => {
      throw new FleetError('cancelled', 'cancelled')
    }),
}
