import type { HandlerRequest } from '../../http/route.ts'

type Asked = Pick<HandlerRequest, 'headers' | 'from'>

const HOST = /^[\w.-]+(:\d{1,5})?$|^\[[0-9a-fA-F:.]+\](:\d{1,5})?$/

/** Where the client reached us, by its own word: what it is told to follow leads there again. */
export function addressOf({ headers, from }: Asked): string {
  const { host = '' } = headers
  return `${from.isSecure ? 'https' : 'http'}://${HOST.test(host) ? host : 'localhost'}`
}

/** @param base the path of the collection, from the root */
export function linksOf(request: Asked, base: string, id: string) {
  const href = `${addressOf(request)}${base}/${id}`
  return [
    { rel: 'self', href },
    { rel: 'bookmark', href },
  ]
}

/** The list as it was asked for, from behind `marker` on. */
export function nextLink(
  request: Asked,
  path: string,
  given: { readonly query: Readonly<Record<string, unknown>>; readonly marker: string },
) {
  const { query, marker } = given
  const words = Object.entries(query).flatMap(([name, value]) =>
    typeof value === 'string' || typeof value === 'boolean' ? [[name, String(value)]] : [],
  )
  // What was left out is before the marker.
  const kept = words.filter(([name]) => name !== 'marker' && name !== 'offset')
  const search = new URLSearchParams([...kept, ['marker', marker]])
  return [{ rel: 'next', href: `${addressOf(request)}${path}?${search}` }]
}
