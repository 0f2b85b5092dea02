import { setTimeout as delay } from 'node:timers/promises'

/** What happens at once is gathered for so long. */
const GATHER_MS = 50

export interface Waker {
  /** The work is done soon; calls that come meanwhile are one. */
  wake(): void
  /** Resolves when what goes on has ended; nothing begins after it. */
  stop(): Promise<void>
}

/** Does `work` soon after it is asked for, one at a time. @param onError is told of what failed: the next tick does it anyway. */
export function createWaker(work: () => Promise<void>, onError: (error: unknown) => void): Waker {
  let isWanted = false
  let isStopped = false
  let running: Promise<void> | undefined

  async function loop(): Promise<void> {
    while (isWanted && !isStopped) {
      await delay(GATHER_MS)
      isWanted = false
      if (!isStopped) await work().catch(onError)
    }
  }

  return {
    wake() {
      isWanted = true
      running ??= loop().finally(() => {
        running = undefined
      })
    },
    async stop() {
      isStopped = true
      await running
    },
  }
}
