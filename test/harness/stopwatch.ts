import { performance } from 'node:perf_hooks'

const TICK_MS = 20
/** Of a request that passes through so many processes each waits for its turn as long as this one does, or so. */
const PROCESSES = 5

/**
 * Tells whether something took less than was promised of a machine that is not overloaded: how late this process' own timer is while it
 * runs says how long others kept it, and those it waits for, from their processors. On a quiet machine that is nothing.
 */
export function startStopwatch(): { within(promisedMs: number): boolean; toString(): string } {
  const startedMs = performance.now()
  let [dueMs, lateMs] = [startedMs + TICK_MS, 0]
  const tick = () => {
    const nowMs = performance.now()
    lateMs += Math.max(0, nowMs - dueMs - 1)
    dueMs = nowMs + TICK_MS
  }
  const timer = setInterval(tick, TICK_MS)
  timer.unref()
  const tookMs = () => performance.now() - startedMs
  return {
    within(promisedMs) {
      clearInterval(timer)
      return tookMs() < promisedMs + PROCESSES * lateMs
    },
    toString: () => `${Math.round(tookMs())} ms, ${Math.round(lateMs)} ms late`,
  }
}
