import type { IncomingMessage } from 'node:http'
import { FleetError } from '../../shared/errors.ts'
import { plainAddress } from './networks.ts'

const LOOPBACK_NAMES = ['localhost', '127.0.0.1', '[::1]']

/** The host without its port: `[::1]:8080` → `[::1]`. */
function hostnameOf(host: string): string {
  return host.toLowerCase().replace(/:\d+$/, '')
}

/** As it stands in a Host header. */
function asHost(address: string): string {
  return address.includes(':') ? `[${address}]` : address
}

/**
 * For callers whose credential a browser sends by itself (a cookie, a certificate, a trusted network), and for logins: any
 * page the user visits can make such a request, so it must come from our own pages, to a name that is ours.
 *
 * - a foreign or `null` Origin, or `Sec-Fetch-Site: cross-site`, is another site's page;
 * - a Host that is not ours is a name that somebody re-pointed at us (DNS rebinding). Ours are the loopback names, what
 *   the operator configured, and the address this very connection came to.
 *
 * Clients that are no browsers send neither header, and a Host of ours.
 */
export function createBrowserRules(allowedHosts: readonly string[]): (request: IncomingMessage) => void {
  const ours = new Set([...LOOPBACK_NAMES, ...allowedHosts.map((host) => hostnameOf(host.trim()))])

  function checkHost(request: IncomingMessage): void {
    const { host } = request.headers
    if (host === undefined) return
    const name = hostnameOf(host)
    if (ours.has(name) || name === asHost(plainAddress(request.socket.localAddress ?? ''))) return
    throw new FleetError('forbidden', 'this Host is not one of the allowed hosts')
  }

  return (request) => {
    const { origin, host } = request.headers
    const foreign = origin !== undefined && origin.toLowerCase().replace(/^https?:\/\//, '') !== host?.toLowerCase()
    if (foreign || request.headers['sec-fetch-site'] === 'cross-site') {
      throw new FleetError('forbidden', 'requests from other sites are not accepted')
    }
    checkHost(request)
  }
}
