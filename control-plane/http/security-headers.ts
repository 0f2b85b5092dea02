import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import Koa from 'koa'
import helmet from 'koa-helmet'

/**
 * The headers that koa-helmet would set, as a flat list of names and values. They never vary, so it runs once:
 * run per request it costs 12 µs, as much as the rest of koa.
 *
 * Off: `upgrade-insecure-requests` and HSTS, which break a fleet that is served over plain HTTP on a LAN.
 */
export async function securityHeaders(): Promise<readonly (readonly [string, string])[]> {
  const middleware = helmet({
    contentSecurityPolicy: { directives: { 'upgrade-insecure-requests': null, 'connect-src': ["'self'"] } },
    strictTransportSecurity: false,
    xXssProtection: false,
    originAgentCluster: false,
  })
  const request = new IncomingMessage(new Socket())
  const response = new ServerResponse(request)
  await middleware(new Koa().createContext(request, response), async () => {})
  // Not helmet's, as fixed: answers are for this caller now, and may be kept only with their ETag.
  response.setHeader('Cache-Control', 'private, no-cache')
  return Object.entries(response.getHeaders()).map(([name, value]) => [name, String(value)])
}
