import type { IncomingMessage } from 'node:http'
import { TLSSocket } from 'node:tls'
import { toFleetError } from '../../shared/errors.ts'
import { type Caller, type RequestMark, type Role, requireRole } from '../core/caller.ts'
import type { Credentials } from '../core/credentials.ts'
import type { AuditTrail } from './audit-refusal.ts'
import { createBrowserRules } from './browser.ts'
import { type ClientCertificate, certificateOf } from './certificate.ts'
import { type Claim, claimOf } from './claim.ts'
import { createAddressSet, createNetworkCredentials, plainAddress, type TrustedNetwork } from './networks.ts'
import type { ProxiedCertificates } from './proxied-certificate.ts'
import { splitTarget } from './request-target.ts'
import type { Access } from './route.ts'
import { createWatch } from './watch.ts'

/** Tokens that another service gave, and knows. */
export interface ForeignTokens {
  /** @throws unauthorized, forbidden, unavailable. */
  caller(token: string): Promise<Caller>
}

export interface AuthOptions {
  readonly credentials: Credentials
  readonly foreignTokens?: ForeignTokens | undefined
  readonly trustedNetworks: readonly TrustedNetwork[]
  /** Names that browsers may use in `Host`, beside loopback and the address they connected to. */
  readonly allowedHosts: readonly string[]
  /** Networks of reverse proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed. */
  readonly proxies: readonly string[]
  /** What proxies say of their clients' certificates. */
  readonly proxied: Pick<ProxiedCertificates, 'of' | 'isFromProxy'>
}

/** What a route asks of who calls it. */
export interface Admission {
  readonly access: Access
  /** Refuses pages of other sites although it asks for no credential. */
  readonly sameSite?: boolean
}

/** Finds out who asks. A credential that is shown must hold: a bad one is not excused by another. */
export function createAuthenticator(options: AuthOptions) {
  const { credentials, proxied, foreignTokens } = options
  const networkOfAddress = createNetworkCredentials(options.trustedNetworks)
  const isProxy = createAddressSet(options.proxies)
  const checkBrowser = createBrowserRules(options.allowedHosts)
  const watch = createWatch(credentials)

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

  /** A proxy that speaks for its clients shows its own certificate, which is nobody else's. */
  function clientCertificate(request: IncomingMessage): ClientCertificate {
    return proxied.isFromProxy(request) ? proxied.of(request) : certificateOf(request.socket)
  }

  /**
   * Behind a proxy that we were not told of, everybody comes from its address: such a request stands for no network. Nor does one of a
   * proxy that we know, and that does not say whose it is, for the network that the proxy stands in.
   */
  function networkOf(request: IncomingMessage) {
    const { 'x-forwarded-for': hops, forwarded, via } = request.headers
    const isNamed = hops !== undefined || forwarded !== undefined || via !== undefined
    const isForwarded = isNamed || proxied.isFromProxy(request)
    const address = clientAddress(request)
    if (isForwarded && address === plainAddress(request.socket.remoteAddress ?? '')) return undefined
    return networkOfAddress(address)
  }

  const claim = (request: IncomingMessage) => claimOf(request, { certificateOf: clientCertificate, networkOf })

  /** One of ours, or else one of the other service's, in the header that clients of that use. */
  async function whoShows(request: IncomingMessage, { shown, group }: Claim): Promise<Caller> {
    const { authorization, 'x-auth-token': token } = request.headers
    try {
      return await credentials.find(shown, group)
    } catch (error) {
      const isForeign = shown.kind === 'token' && authorization === undefined && typeof token === 'string'
      if (foreignTokens === undefined || !isForeign || toFleetError(error).code !== 'unauthorized') throw error
      return foreignTokens.caller(token)
    }
  }

  return {
    markOf(request: IncomingMessage, id: string): RequestMark {
      const { path } = splitTarget(request.url)
      return { id, address: clientAddress(request), method: request.method ?? '', path }
    },

    /** Whether the client's side of the connection is encrypted, as far as we or a configured proxy know. */
    isSecure(request: IncomingMessage): boolean {
      if (request.socket instanceof TLSSocket) return true
      const forwarded = request.headers['x-forwarded-proto']
      return forwarded === 'https' && isProxy(plainAddress(request.socket.remoteAddress ?? ''))
    },

    /**
     * The caller, with the right that `access` asks for; undefined on public routes.
     * @param trail learns who it is also when they may not. @throws unauthorized, forbidden.
     */
    async authorize(
      request: IncomingMessage,
      { access, sameSite }: Admission,
      trail: Pick<AuditTrail, 'mark' | 'caller'>,
    ): Promise<Caller | undefined> {
      if (sameSite) checkBrowser(request)
      if (access === 'public') return undefined
      const { shown, group } = claim(request)
      const caller = { ...(await whoShows(request, { shown, group })), request: trail.mark }
      trail.caller = caller
      // A browser sends everything but a token by itself.
      if (shown.kind !== 'token') checkBrowser(request)
      requireRole(caller, access)
      return caller
    },

    /** Calls `end` once `caller`, whom this request was admitted for, may no longer. @returns what to call when it is over. */
    watch(request: IncomingMessage, admitted: { readonly caller: Caller; readonly access: Role }, end: () => void) {
      return watch.add({ claim: claim(request), ...admitted, end })
    },

    close: watch.close,
  }
}

export type Authenticator = ReturnType<typeof createAuthenticator>
