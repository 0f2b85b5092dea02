import { readFileSync } from 'node:fs'

const RECONNECT_MS = 250

/** Splits credentials out of a NATS URL, because the client ignores them there: `nats://user:pass@host`, `nats://token@host`. */
export function parseNatsUrl(url: string): {
  readonly servers: string
  readonly user?: string
  readonly pass?: string
  readonly token?: string
} {
  const parsed = new URL(url)
  const servers = `${parsed.protocol}//${parsed.host}`
  const user = decodeURIComponent(parsed.username)
  const pass = decodeURIComponent(parsed.password)
  if (user === '') return { servers }
  return pass === '' ? { servers, token: user } : { servers, user, pass }
}

/**
 * How both processes connect: with what the URL carries, or the nkey whose seed is in a file, and for ever.
 * @param authenticator the client's `nkeyAuthenticator`; this folder imports no client.
 */
export function natsOptions<Authenticator>(
  address: { readonly url: string; readonly seedFile?: string | undefined },
  authenticator: (seed: Uint8Array) => Authenticator,
) {
  const { seedFile } = address
  const seed = seedFile === undefined ? undefined : readFileSync(seedFile, 'utf8').trim()
  return {
    ...parseNatsUrl(address.url),
    ...(seed === undefined ? {} : { authenticator: authenticator(new TextEncoder().encode(seed)) }),
    maxReconnectAttempts: -1,
    reconnectTimeWait: RECONNECT_MS,
    waitOnFirstConnect: true,
  }
}
