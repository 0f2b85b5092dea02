import { connect, type NatsConnection, nkeyAuthenticator } from 'nats'
import { natsOptions } from '../shared/wire/nats-credentials.ts'

/** Connects as one host; the inbox prefix is what this host's credentials let it listen to. */
export async function connectNats(options: {
  readonly url: string
  readonly host: string
  readonly seedFile?: string | undefined
}): Promise<NatsConnection> {
  return connect({
    ...natsOptions(options, nkeyAuthenticator),
    name: `holdfast-agent-${options.host}`,
    inboxPrefix: `_INBOX_${options.host}`,
  })
}
