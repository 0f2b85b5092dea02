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

/** How the connection is encrypted, beyond what the URL's scheme says. Paths name PEM files. */
export interface NatsTls {
  /** The authority that signed the server's certificate; absent: those that Node knows. */
  readonly caFile?: string | undefined
  /** The same, as PEM itself. */
  readonly ca?: string | undefined
  /** Our own certificate, where the server asks for one. */
  readonly certFile?: string | undefined
  readonly keyFile?: string | undefined
}

/** As both processes are configured. */
export function natsTls(config: {
  readonly NATS_CA_FILE?: string | undefined
  readonly NATS_CERT_FILE?: string | undefined
  readonly NATS_KEY_FILE?: string | undefined
}): NatsTls {
  return { caFile: config.NATS_CA_FILE, certFile: config.NATS_CERT_FILE, keyFile: config.NATS_KEY_FILE }
}

/**
 * How both processes connect: with what the URL carries, and for ever. Over TLS where the URL says `tls:` or an authority or
 * certificate is named: then a server without it is refused.
 */
export function natsOptions(address: { readonly url: string | readonly string[]; readonly tls?: NatsTls | undefined }) {
  const parsed = [address.url].flat().map(parseNatsUrl)
  const given = Object.entries(address.tls ?? {}).filter(([, value]) => value !== undefined)
  const isSecure = given.length > 0 || parsed.some(({ servers }) => servers.startsWith('tls:'))
  return {
    ...parsed[0],
    servers: parsed.map(({ servers }) => servers),
    ...(isSecure ? { tls: Object.fromEntries(given) } : {}),
    maxReconnectAttempts: -1,
    reconnectTimeWait: RECONNECT_MS,
    waitOnFirstConnect: true,
  }
}

/** The nkey seed in a file. */
export function readSeed(file: string): Uint8Array {
  return new TextEncoder().encode(readFileSync(file, 'utf8').trim())
}
