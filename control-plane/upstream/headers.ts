import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http'

/** Of one connection alone. Source: RFC 9110, 7.6.1. */
const OF_A_HOP = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'expect'],
  ...['proxy-authenticate', 'proxy-authorization', 'proxy-authentication-info', 'http2-settings'],
])
/** Credentials of ours, and what only proxies in front of us may say. */
const NOT_FORWARDED = new Set([
  ...['host', 'authorization', 'cookie', 'idempotency-key'],
  ...['forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-forwarded-port', 'x-real-ip'],
])
/** The other service would set them for all of this address, or say who we are. */
const NOT_RETURNED = new Set(['set-cookie', 'strict-transport-security', 'alt-svc', 'clear-site-data', 'x-request-id'])
const OURS = /^x-holdfast-/
/** Set by the middleware of OpenStack's services for what is behind it: whoever sends one wants to be somebody else. */
const IDENTITY = /^x-(identity|user|project|domain|tenant|role|roles|is-admin|service-(?!token$))/

/** What goes up with a request. `withoutHeaders`: names of more that stay here. */
export function headersUp(headers: IncomingHttpHeaders, withoutHeaders: ReadonlySet<string>): OutgoingHttpHeaders {
  return kept(
    headers,
    (name) => !NOT_FORWARDED.has(name) && !OURS.test(name) && !IDENTITY.test(name) && !withoutHeaders.has(name),
  )
}

/** What comes back with an answer. */
export function headersDown(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  return kept(headers, (name) => !NOT_RETURNED.has(name))
}

function kept(headers: IncomingHttpHeaders, isWanted: (name: string) => boolean): OutgoingHttpHeaders {
  const named = new Set((headers.connection ?? '').split(',').map((name) => name.trim().toLowerCase()))
  const result: OutgoingHttpHeaders = {}
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !OF_A_HOP.has(name) && !named.has(name) && isWanted(name)) result[name] = value
  }
  return result
}
