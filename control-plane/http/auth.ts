import type { IncomingMessage } from 'node:http'
import { FleetError } from '../../shared/errors.ts'
import { type Caller, requireRole } from '../core/caller.ts'
import { createBrowserRules } from './browser.ts'
import { createAddressSet, createNetworkCallers, plainAddress, type TrustedNetwork } from './networks.ts'
import type { Access } from './route.ts'

/** Whoever a secret belongs to; undefined for one that is unknown, expired or revoked. */
export interface Tokens {
  find(secret: string): Promise<Caller | undefined>
}

export interface AuthOptions {
  readonly tokens: Tokens
  readonly trustedNetworks: readonly TrustedNetwork[]
  /** Names that network callers may use in `Host`, beside loopback and the address they connected to. */
  readonly allowedHosts: readonly string[]
  /** Networks of reverse proxies whose `X-Forwarded-For` is believed. */
  readonly proxies: readonly string[]
}

/** Browsers cannot set headers on a WebSocket; they can name subprotocols. Never a query string: those are logged. */
export const TOKEN_PROTOCOL = 'holdfast.token.'

const BEARER = /^Bearer +(\S+) *$/i

/** The secret a request shows, `''` for an Authorization header that holds none of ours, undefined for no credentials. */
function secretOf({ headers }: IncomingMessage): string | undefined {
  if (headers.authorization !== undefined) return BEARER.exec(headers.authorization)?.[1] ?? ''
  const token = headers['x-auth-token']
  if (token !== undefined) return String(token)
  const protocols = headers['sec-websocket-protocol']?.split(',').map((protocol) => protocol.trim())
  return protocols?.find((protocol) => protocol.startsWith(TOKEN_PROTOCOL))?.slice(TOKEN_PROTOCOL.length)
}

/** Finds out who asks. A credential that is shown must hold: a bad one is not excused by a trusted network. */
export function createAuthenticator(options: AuthOptions) {
  const callerOfNetwork = createNetworkCallers(options.trustedNetworks)
  const isProxy = createAddressSet(options.proxies)
  const checkBrowser = createBrowserRules(options.allowedHosts)

  /** The nearest hop that is not a proxy of ours; hops beyond it are hearsay. */
  function clientAddress(request: IncomingMessage): string {
    const peer = plainAddress(request.socket.remoteAddress ?? '')
    const forwarded = request.headers['x-forwarded-for']
    if (forwarded === undefined || !isProxy(peer)) return peer
    const hops = String(forwarded)
      .split(',')
      .map((hop) => plainAddress(hop.trim()))
    return hops.findLast((hop) => !isProxy(hop)) ?? peer
  }

  /** @throws unauthorized, forbidden (a browser's cross-site request). */
  async function identify(request: IncomingMessage): Promise<Caller> {
    const secret = secretOf(request)
    if (secret !== undefined) {
      const known = secret === '' ? undefined : await options.tokens.find(secret)
      if (known) return known
      throw new FleetError('unauthorized', 'the credentials are not known')
    }
    const caller = callerOfNetwork(clientAddress(request))
    if (!caller) throw new FleetError('unauthorized', 'credentials are required')
    checkBrowser(request)
    return caller
  }

  return {
    /** The caller, with the right that `access` asks for; undefined on public routes. @throws unauthorized, forbidden. */
    async authorize(request: IncomingMessage, access: Access): Promise<Caller | undefined> {
      if (access === 'public') return undefined
      const caller = await identify(request)
      requireRole(caller, access)
      return caller
    },
  }
}

export type Authenticator = ReturnType<typeof createAuthenticator>
