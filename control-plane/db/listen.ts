import pg from 'pg'
import type { Logger } from '../../shared/logger.ts'

const RECONNECT_MS = 1_000
/** A server that is gone without a word says nothing, as one does that has nothing to say: it is asked whether it is there. */
const PING_MS = 10_000

export interface Listener {
  close(): Promise<void>
}

/**
 * Hears NOTIFY on a connection of its own, and comes back when that is lost. Notifications sent meanwhile are gone, so
 * `onConnect` must read what they would have told.
 */
export async function listen(deps: {
  readonly url: string
  readonly channels: Readonly<Record<string, (payload: string) => void>>
  readonly onConnect: () => void
  readonly logger: Logger
  /** How often the server is asked, and how long it may take to answer. */
  readonly pingMs?: number
}): Promise<Listener> {
  const { pingMs = PING_MS } = deps
  const closing = new AbortController()
  let client: pg.Client | undefined
  let retry: NodeJS.Timeout | undefined

  async function connect(): Promise<void> {
    const fresh = new pg.Client({ connectionString: deps.url, application_name: 'holdfast-listen' })
    fresh.on('notification', (message) => deps.channels[message.channel]?.(message.payload ?? ''))
    fresh.on('error', () => undefined)
    try {
      await fresh.connect()
      for (const channel of Object.keys(deps.channels)) await fresh.query(`listen ${pg.escapeIdentifier(channel)}`)
    } catch (error) {
      await fresh.end().catch(() => undefined)
      throw error
    }
    if (closing.signal.aborted) return fresh.end()
    // Heard only from here on: a connection that never stood is tried again by whoever tried it, once.
    const pinging = setInterval(() => void ping(fresh), pingMs)
    fresh.on('end', () => {
      clearInterval(pinging)
      if (closing.signal.aborted) return
      deps.logger.warn({ event: 'listen.lost' })
      again()
    })
    client = fresh
    deps.onConnect()
  }

  /** Without an answer in time the connection ends, as if it had been lost. */
  async function ping(asked: pg.Client): Promise<void> {
    const question = { text: 'select 1', query_timeout: pingMs }
    await asked.query(question).catch(() => asked.end().catch(() => undefined))
  }

  function again(): void {
    if (closing.signal.aborted) return
    clearTimeout(retry)
    retry = setTimeout(() => connect().catch(again), RECONNECT_MS)
  }

  await connect()
  return {
    async close() {
      closing.abort()
      clearTimeout(retry)
      await client?.end()
    },
  }
}
