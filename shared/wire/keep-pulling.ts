import { setTimeout as delay } from 'node:timers/promises'

const RETRY_MS = 500

interface Statuses {
  status(): AsyncIterable<{ readonly type: string }>
}

/** What JetStream's client gives for a consumer that is being pulled from. */
export interface Pull extends Statuses {
  stop(): void
}

export interface Pulling {
  /** Since when messages would have arrived, in milliseconds since the epoch; undefined while they would not. */
  healthySinceMs(): number | undefined
  stop(): Promise<void>
}

/** After any of these nothing arrives any more until the consumer has been opened again. */
const LOST = new Set(['consumer_not_found', 'consumer_deleted', 'stream_not_found', 'no_responders'])

/** Of a connection over which nothing arrives until it has been made again. */
const CUT = new Set(['disconnect', 'staleConnection'])

/**
 * Keeps one pull open for as long as the process lives. A server that came back, perhaps without its streams, knows nothing
 * of the pull that was open and would let it wait for its whole time: so after every reconnect it is opened anew.
 * @param open makes sure that stream and consumer are there, and begins to pull.
 */
export function keepPulling(deps: {
  readonly open: (signal: AbortSignal) => Promise<Pull>
  readonly connection: Statuses
  readonly onLost: (error: unknown) => void
}): Pulling {
  const stopping = new AbortController()
  let pull: Pull | undefined
  let healthySinceMs: number | undefined

  async function pullUntilLost(): Promise<void> {
    pull = await deps.open(stopping.signal)
    if (stopping.signal.aborted) return pull.stop()
    healthySinceMs = Date.now()
    for await (const status of pull.status()) {
      if (LOST.has(status.type)) break
    }
    healthySinceMs = undefined
    pull.stop()
  }

  async function loop(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        await pullUntilLost()
      } catch (error) {
        healthySinceMs = undefined
        if (stopping.signal.aborted) return
        deps.onLost(error)
        await delay(RETRY_MS)
      }
    }
  }

  async function watchConnection(): Promise<void> {
    for await (const status of deps.connection.status()) {
      if (CUT.has(status.type)) healthySinceMs = undefined
      if (status.type === 'reconnect') pull?.stop()
    }
  }

  const looping = loop()
  void watchConnection()

  return {
    healthySinceMs: () => healthySinceMs,
    async stop() {
      stopping.abort()
      pull?.stop()
      await looping
    },
  }
}
