/** What a process needs to reach NATS: a URL, which may carry user and password or a token, and perhaps an nkey seed. */
export interface NatsAddress {
  readonly servers: string
  readonly user?: string
  readonly pass?: string
  readonly token?: string
}

/** Splits credentials out of a NATS URL, because the client ignores them there: `nats://user:pass@host`, `nats://token@host`. */
export function parseNatsUrl(url: string): NatsAddress {
  const parsed = new URL(url)
  const servers = `${parsed.protocol}//${parsed.host}`
  const user = decodeURIComponent(parsed.username)
  const pass = decodeURIComponent(parsed.password)
  if (user === '') return { servers }
  return pass === '' ? { servers, token: user } : { servers, user, pass }
}
