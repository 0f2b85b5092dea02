import { setTimeout as delay } from 'node:timers/promises'

const POLL_MS = 25

/** Waits for a condition, never for a time. @throws after `timeoutMs`, saying what did not come true. */
export async function until<Value>(
  what: string,
  check: () => Promise<Value | undefined | false> | Value | undefined | false,
  timeoutMs = 20_000,
): Promise<Value> {
  const deadline = performance.now() + timeoutMs
  let last: unknown
  for (;;) {
    try {
      const value = await check()
      if (value !== undefined && value !== false) return value
    } catch (error) {
      last = error
    }
    if (performance.now() > deadline) throw new Error(`${what}: not within ${timeoutMs} ms`, { cause: last })
    await delay(POLL_MS)
  }
}
