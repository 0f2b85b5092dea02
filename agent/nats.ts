import { type Authenticator, connect, type NatsConnection } from 'nats'
import { inboxPrefix } from '../shared/wire/agent-permissions.ts'
import { type NatsTls, natsOptions } from '../shared/wire/nats-credentials.ts'

/** Connects as one host; the inbox prefix is what this host's credentials let it listen to. */
export async function connectNats(options: {
  readonly url: string | readonly string[]
  readonly host: string
  readonly tls?: NatsTls | undefined
  /** Absent: with what the URL carries. */
  readonly authenticator?: Authenticator | undefined
}): Promise<NatsConnection> {
  const { authenticator } = options
  return connect({
    ...natsOptions(options),
    ...(authenticator ? { authenticator } : {}),
    name: `holdfast-agent-${options.host}`,
    inboxPrefix: inboxPrefix(options.host),
  })
}
