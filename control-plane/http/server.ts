import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Registry } from 'prom-client'
import type { Logger } from '../../shared/logger.ts'
import type { Core } from '../core/core.ts'
import { createFeedStreams } from '../feed/sse.ts'
import { createFeedSockets } from '../feed/websocket.ts'
import { createAuthenticator, type Tokens } from './auth.ts'
import { createLiveFeed } from './live-feed.ts'
import { mount } from './mount.ts'
import type { TrustedNetwork } from './networks.ts'
import { createRequestObserver } from './request-facts.ts'
import { createRequestIds } from './request-id.ts'
import type { Dialect } from './route.ts'
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
  readonly tokens: Tokens
  /** The last one answers for paths that none owns. */
  readonly dialects: readonly Dialect[]
  readonly trustedNetworks: readonly TrustedNetwork[]
  readonly allowedHosts: readonly string[]
  /** Networks of reverse proxies whose `X-Forwarded-For` is believed; default none. */
  readonly proxies?: readonly string[]
  readonly metrics: Registry
  readonly logger: Logger
}

/** The listener for every dialect: HTTP, server-sent events and WebSockets on one port. */
export async function createHttp(deps: HttpDeps) {
  const { core, dialects, logger } = deps
  const closing = new AbortController()
  const auth = createAuthenticator({ ...deps, proxies: deps.proxies ?? [] })
  const sockets = createFeedSockets(core.feed)
  const streams = createFeedStreams(core.feed)
  const liveFeed = createLiveFeed({ core, closing: closing.signal, auth, sockets, streams })
  const requestId = createRequestIds()
  const observe = createRequestObserver(logger, deps.metrics)
  const { openStream } = liveFeed
  const handler = await mount({ core, dialects, auth, logger, closing: closing.signal, requestId, openStream, observe })
  const upgrades = createUpgrades({ dialects, liveFeed, sockets, logger, requestId, observe })

  const options = { keepAlive: true, keepAliveInitialDelay: TCP_KEEP_ALIVE_MS, noDelay: true }
  const server = createServer({ ...options, shouldUpgradeCallback: upgrades.wants }, handler)
  server.keepAliveTimeout = KEEP_ALIVE_TIMEOUT_MS
  server.on('upgrade', upgrades.handle)

  /** Resolves when the last connection has ended, by itself or after the grace. */
  async function close(graceMs = CLOSE_GRACE_MS): Promise<void> {
    closing.abort()
    sockets.close()
    streams.close()
    if (!server.listening) return
    const sweep = setInterval(() => server.closeIdleConnections(), IDLE_SWEEP_MS)
    const cut = setTimeout(() => {
      server.closeAllConnections()
      sockets.terminate()
    }, graceMs)
    await new Promise((resolve) => server.close(resolve))
    clearInterval(sweep)
    clearTimeout(cut)
  }

  return {
    /** Port 0 picks a free one. @returns where it listens. @throws when the address is taken. */
    async listen(where: { readonly port: number; readonly bind: string }): Promise<{ readonly port: number }> {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen(where.port, where.bind, resolve)
      })
      // as: a TCP server that listens has an AddressInfo; strings are for pipes
      return { port: (server.address() as AddressInfo).port }
    },
    close,
    [Symbol.asyncDispose]: () => close(),
  }
}
