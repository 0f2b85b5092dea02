import pg from 'pg'
import type { Logger } from '../../shared/logger.ts'

const RECONNECT_MS = 1_000

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
}): Promise<Listener> {
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
    fresh.on('end', () => {
      if (closing.signal.aborted) return
      deps.logger.warn({ event: 'listen.lost' })
      again()
    })
    client = fresh
    deps.onConnect()
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
