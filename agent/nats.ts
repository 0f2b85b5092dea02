import { readFileSync } from 'node:fs'
import { connect, type NatsConnection, nkeyAuthenticator } from 'nats'
import { parseNatsUrl } from '../shared/wire/nats-credentials.ts'

/** Connects as one host; the inbox prefix is what this host's credentials let it listen to. */
export async function connectNats(options: {
  readonly url: string
  readonly host: string
  readonly seedFile?: string | undefined
}): Promise<NatsConnection> {
  const { servers, ...login } = parseNatsUrl(options.url)
  const seed = options.seedFile === undefined ? undefined : readFileSync(options.seedFile, 'utf8').trim()
  return connect({
    servers,
    ...login,
    ...(seed ? { authenticator: nkeyAuthenticator(new TextEncoder().encode(seed)) } : {}),
    name: `holdfast-agent-${options.host}`,
    inboxPrefix: `_INBOX_${options.host}`,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    waitOnFirstConnect: true,
  })
}
