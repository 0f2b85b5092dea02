import { rmSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { type ThawOrder, thawOnce } from './thaw-order.ts'

/**
 * The watchdog of one freeze: a process of its own, so that nothing that happens to the agent keeps an instance frozen.
 * It says `armed`, then waits for `released` on stdin. Without it the instance is thawed: at the deadline, or as soon as stdin
 * ends, which is what the death of the agent looks like; it says `expired` before it does. Exit code 0: it never thawed; 1: it
 * did; 2: it could not.
 *
 * A freeze that was under way when its agent died may take hold after the first thaw, so the thaw is repeated for a while.
 */
const REPEATS_AT_MS = [0, 50, 150, 400, 1_000, 2_000]
const RETRY_MS = 1_000
const GIVE_UP_MS = 600_000

interface WatchdogOrder {
  readonly thaw: ThawOrder
  readonly maxMs: number
  /** Removed when the instance runs again. */
  readonly note: string
}

// Whoever stops the agent may signal what it left; only a release or the thaw ends this.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined)
process.stdout.on('error', () => undefined) // nobody listens any more

// as: written by the agent that started this process, a moment ago
const order = JSON.parse(process.argv[2] ?? '') as WatchdogOrder
let heard = ''
let thawing: Promise<void> | undefined

const deadline = setTimeout(() => thawNow(), order.maxMs)
process.stdin.on('data', (chunk: Buffer) => {
  heard += chunk.toString('latin1').slice(0, 16)
  if (heard.startsWith('released') && thawing === undefined) process.exit(0)
})
process.stdin.on('end', () => thawNow())
process.stdin.on('error', () => thawNow())
process.stdout.write('armed\n')

function thawNow(): void {
  if (thawing !== undefined) return
  clearTimeout(deadline)
  process.stdout.write('expired\n')
  thawing = thaw()
}

async function thaw(): Promise<void> {
  const startedAt = performance.now()
  let done = false
  for (const atMs of REPEATS_AT_MS) {
    await pause(Math.max(0, startedAt + atMs - performance.now()))
    done = await thawOnce(order.thaw)
  }
  while (!done && performance.now() - startedAt < GIVE_UP_MS) {
    await pause(RETRY_MS)
    done = await thawOnce(order.thaw)
  }
  if (done) rmSync(order.note, { force: true })
  process.exit(done ? 1 : 2)
}
