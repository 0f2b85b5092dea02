import { strict as assert } from 'node:assert'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Registry } from 'prom-client'
import type { Logger } from '../../shared/logger.ts'
import type { Core } from '../core/core.ts'
import type { Credentials } from '../core/credentials.ts'
import type { Fingerprints, IdempotencyKeys } from '../core/idempotency.ts'
import { createFeedStreams } from '../feed/sse.ts'
import { createFeedSockets } from '../feed/websocket.ts'
import { createAuthenticator, type ForeignTokens } from './auth.ts'
import type { Forwarder } from './forward.ts'
import { createIdempotency } from './idempotency.ts'
import { createLiveFeed } from './live-feed.ts'
import { mount } from './mount.ts'
import type { TrustedNetwork } from './networks.ts'
import { type CertificateHeader, createProxiedCertificates } from './proxied-certificate.ts'
import { createRequestObserver } from './request-facts.ts'
import { createRequestIds } from './request-id.ts'
import type { Dialect } from './route.ts'
import { createTlsServer, type TlsFiles } from './tls.ts'
import { createUpgrades } from './upgrade.ts'

/** Longer than the idle timeout of common load balancers (60 s), so that they close first and never meet a reset. */
const KEEP_ALIVE_TIMEOUT_MS = 65_000
/** TCP's own probes find peers that vanished without a word. */
const TCP_KEEP_ALIVE_MS = 60_000
/** Requests in flight may take this long to end once the server stops. */
const CLOSE_GRACE_MS = 10_000
/** How often connections that became idle are ended while stopping. */
const IDLE_SWEEP_MS = 50

export interface HttpDeps {
  readonly core: Core
  readonly credentials: Credentials
  /** The last one answers for paths that none owns. */
  readonly dialects: readonly Dialect[]
  readonly trustedNetworks: readonly TrustedNetwork[]
  readonly allowedHosts: readonly string[]
  /** Networks of reverse proxies whose `X-Forwarded-For` is believed; default none. */
  readonly proxies?: readonly string[]
  /** The certificate of the second listener, where there is one. */
  readonly tls?: TlsFiles | undefined
  /** Where reverse proxies say whose certificate they have verified; default nowhere. */
  readonly certificateHeader?: CertificateHeader | undefined
  /** Another service that answers for some paths. */
  readonly forwarder?: Forwarder | undefined
  /** Whose tokens count in `X-Auth-Token` beside ours. */
  readonly foreignTokens?: ForeignTokens | undefined
  /** Where `Idempotency-Key`s are kept. */
  readonly keys: IdempotencyKeys
  readonly fingerprints: (asked: Buffer) => Fingerprints
  readonly metrics: Registry
  readonly logger: Logger
}

interface Address {
  readonly port: number
  readonly bind: string
}

/** The listener for every dialect: HTTP, server-sent events and WebSockets on one port. */
export async function createHttp(deps: HttpDeps) {
  const { core, dialects, logger } = deps
  const closing = new AbortController()
  const proxied = createProxiedCertificates(deps.certificateHeader)
  const auth = createAuthenticator({ ...deps, proxies: deps.proxies ?? [], proxied })
  const sockets = createFeedSockets(core.feed)
  const streams = createFeedStreams(core.feed)
  const liveFeed = createLiveFeed({ core, closing: closing.signal, auth, sockets, streams })
  const requestId = createRequestIds()
  const observe = createRequestObserver(logger, deps.metrics)
  const { openStream } = liveFeed
  const idempotency = createIdempotency({ keys: deps.keys, fingerprints: deps.fingerprints, logger })
  const duties = {
    core,
    dialects,
    auth,
    idempotency,
    logger,
    requestId,
    openStream,
    observe,
    forwarder: deps.forwarder,
  }
  const serve = await mount({ ...duties, closing: closing.signal })
  const handler = (request: IncomingMessage, response: ServerResponse) => {
    proxied.take(request)
    serve(request, response)
  }
  const upgrades = createUpgrades({ dialects, liveFeed, sockets, logger, requestId, observe })

  const options = {
    keepAlive: true,
    keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
    noDelay: true,
    shouldUpgradeCallback: upgrades.wants,
  }
  const plain = createServer(options, handler)
  const secure = deps.tls && createTlsServer({ files: deps.tls, options, logger, metrics: deps.metrics }, handler)
  const servers: Server[] = []

  /** The duties that every listener has. */
  function prepare(server: Server): void {
    servers.push(server)
    server.keepAliveTimeout = KEEP_ALIVE_TIMEOUT_MS
    server.on('upgrade', (request: IncomingMessage, connection, head) => {
      proxied.take(request)
      void upgrades.handle(request, connection, head)
    })
  }

  /** Resolves when the last connection has ended, by itself or after the grace. */
  async function close(graceMs = CLOSE_GRACE_MS): Promise<void> {
    closing.abort()
    sockets.close()
    streams.close()
    auth.close()
    const open = servers.filter(({ listening }) => listening)
    const sweep = setInterval(() => {
      for (const server of open) server.closeIdleConnections()
    }, IDLE_SWEEP_MS)
    const cut = setTimeout(() => {
      for (const server of open) server.closeAllConnections()
      sockets.terminate()
    }, graceMs)
    await Promise.all(open.map((server) => new Promise((resolve) => server.close(resolve))))
    clearInterval(sweep)
    clearTimeout(cut)
  }

  /** Port 0 picks a free one. @returns where it listens. @throws when the address is taken. */
  async function listenOn(server: Server, where: Address): Promise<{ readonly port: number }> {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(where.port, where.bind, resolve)
    })
    // as: a TCP server that listens has an AddressInfo; strings are for pipes
    return { port: (server.address() as AddressInfo).port }
  }

  prepare(plain)
  if (secure) prepare(secure)
  return {
    listen: (where: Address) => listenOn(plain, where),
    /** Another address at which all the same is served, beside the first. */
    listenAlso(where: Address): Promise<{ readonly port: number }> {
      const server = createServer(options, handler)
      prepare(server)
      return listenOn(server, where)
    },
    /** Over TLS, beside the plain one; only with `tls`. */
    listenTls(where: Address): Promise<{ readonly port: number }> {
      assert(secure, 'a listener over TLS needs a certificate')
      return listenOn(secure, where)
    },
    close,
    [Symbol.asyncDispose]: () => close(),
  }
}
