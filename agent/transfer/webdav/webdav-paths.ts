import { joinPath, segmentsOf } from '../target-path.ts'

/** `a/b c` below a base, as a request names it. */
export function encodedPath(base: string, path: string): string {
  return `/${segmentsOf(joinPath(base, path)).map(encodeSegment).join('/')}`
}

/** RFC 3986's unreserved characters alone stay as they are. */
export function encodeSegment(segment: string): string {
  return encodeURIComponent(segment).replaceAll(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}

/**
 * The name that an `href` of a listing gives a direct child of the listed directory; `''` is the directory itself, undefined anything
 * else, wherever a server says it lies.
 * @param directory encoded, without a slash at its end
 */
export function childName(directory: string, href: string): string | undefined {
  try {
    const { pathname } = new URL(href.trim(), 'http://target')
    const segments = pathname
      .split('/')
      .filter((part) => part !== '')
      .map(decodeURIComponent)
    const own = directory
      .split('/')
      .filter((part) => part !== '')
      .map(decodeURIComponent)
    const below = own.every((part, index) => segments[index] === part)
    if (!below || segments.length > own.length + 1) return undefined
    return segments[own.length] ?? ''
  } catch {
    return undefined // no URL, or an escape that is none
  }
}
