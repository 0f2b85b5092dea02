import { FleetError } from '../../shared/errors.ts'
import type { Clock } from './clock.ts'
import { RETRIED } from './transfer.ts'

export interface RetryPolicy {
  readonly attempts: number
  /** The longest wait after the first failure; it doubles up to `maxMs`. */
  readonly baseMs: number
  readonly maxMs: number
  readonly clock: Clock
  /** 0 to 1. */
  readonly random: () => number
}

export function mayRetry(error: unknown): boolean {
  return error instanceof FleetError && RETRIED.has(error.code)
}

/**
 * The one place that tries again, and only after `unavailable`, `busy` and `timeout`. Waits are drawn from nothing to the bound
 * ("full jitter"), so that many agents do not come back together.
 * @param work must be harmless to repeat; is told which attempt this is, from 1
 */
export async function retry<Result>(
  policy: RetryPolicy,
  signal: AbortSignal,
  work: (attempt: number) => Promise<Result>,
): Promise<Result> {
  for (let attempt = 1; ; attempt += 1) {
    if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
    try {
      return await work(attempt)
    } catch (error) {
      const again = mayRetry(error) && attempt < policy.attempts
      if (!again) throw error
      await pauseAfter(policy, attempt, signal)
    }
  }
}

/** @param failures in a row, from 1 */
export function pauseAfter(policy: RetryPolicy, failures: number, signal: AbortSignal): Promise<void> {
  const boundMs = Math.min(policy.maxMs, policy.baseMs * 2 ** (failures - 1))
  return policy.clock.sleep(policy.random() * boundMs, signal)
}
