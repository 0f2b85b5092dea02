import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

const POLL_MS = 25

/** Waits for a condition, never for a time. @throws after `timeoutMs`, saying what did not come true. */
export async function until<Value>(
  what: string,
  check: () => Promise<Value | undefined | false> | Value | undefined | false,
  timeoutMs = 60_000,
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

/** Waits for a port of 127.0.0.1 to take connections. */
export function listening(port: number, timeoutMs?: number): Promise<true> {
  const check = () =>
    new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => settle(true)).once('error', () => settle(false))
      const settle = (answer: boolean) => {
        socket.destroy()
        resolve(answer)
      }
    })
  return until(`port ${port} answers`, async () => (await check()) && (true as const), timeoutMs)
}
