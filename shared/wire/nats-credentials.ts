import { readFileSync } from 'node:fs'
import { checkServerIdentity, type PeerCertificate } from 'node:tls'

const RECONNECT_MS = 250
/** A server that leaves two of these unanswered is gone: nobody else tells of one that goes without a word. */
const PING_MS = 10_000
const PINGS_UNANSWERED = 2

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
  const given: { readonly caFile?: string } = Object.fromEntries(
    Object.entries(address.tls ?? {}).filter(([, value]) => value !== undefined),
  )
  const isSecure = Object.keys(given).length > 0 || parsed.some(({ servers }) => servers.startsWith('tls:'))
  return {
    ...parsed[0],
    servers: parsed.map(({ servers }) => servers),
    ...(isSecure ? { tls: { ...given, checkServerIdentity: identityCheck(parsed) } } : {}),
    maxReconnectAttempts: -1,
    reconnectTimeWait: RECONNECT_MS,
    waitOnFirstConnect: true,
    pingInterval: PING_MS,
    maxPingOut: PINGS_UNANSWERED,
  }
}

/** What Node asks about when the client names nobody, which it does for servers that are known by their address. */
const NOBODY = 'localhost'

/** Each server may be any of those that were named, or who it says it is when the cluster told of it. */
function identityCheck(parsed: readonly { readonly servers: string }[]) {
  const named = parsed.map(({ servers }) => new URL(servers).hostname.replace(/^\[|\]$/g, ''))
  return (asked: string, certificate: PeerCertificate): Error | undefined => {
    const names = asked === NOBODY ? named : [asked, ...named]
    const failures = names.map((name) => checkServerIdentity(name, certificate))
    return failures.includes(undefined) ? undefined : failures[0]
  }
}

/** The nkey seed in a file. */
export function readSeed(file: string): Uint8Array {
  return new TextEncoder().encode(readFileSync(file, 'utf8').trim())
}
