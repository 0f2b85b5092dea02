/**
 * A path below an archive's root, one character a byte (latin1): file systems do not promise UTF-8, and strings compare,
 * join and hash faster than Buffers. The root is ''; there is no leading or trailing slash.
 */
export type BytePath = string

const SLASH = 0x2f
const PLAIN = /^[\x20-\x21\x23-\x5b\x5d-\x7e]*$/

export function bytesOf(path: BytePath): Buffer {
  return Buffer.from(path, 'latin1')
}

export function bytePath(text: string | Uint8Array): BytePath {
  const bytes = typeof text === 'string' ? Buffer.from(text) : Buffer.from(text.buffer, text.byteOffset, text.length)
  return bytes.toString('latin1')
}

/** For people: bytes that are not UTF-8 become U+FFFD. */
export function displayPath(path: BytePath): string {
  return path === '' ? '.' : utf8Of(path)
}

/** Whether a JSON string can carry it unchanged. */
export function isUtf8(path: BytePath): boolean {
  return PLAIN.test(path) || Buffer.from(utf8Of(path)).equals(bytesOf(path))
}

function utf8Of(path: BytePath): string {
  return PLAIN.test(path) ? path : bytesOf(path).toString('utf8')
}

/** `"key":"text"`, or `"keyB64":"…"` for bytes that are not UTF-8. */
export function jsonField(key: string, path: BytePath): string {
  if (PLAIN.test(path)) return `"${key}":"${path}"`
  if (isUtf8(path)) return `"${key}":${JSON.stringify(utf8Of(path))}`
  return `"${key}B64":"${bytesOf(path).toString('base64')}"`
}

export function fromJson(text: string | undefined, base64: string | undefined): BytePath | undefined {
  if (base64 !== undefined) return Buffer.from(base64, 'base64').toString('latin1')
  if (text === undefined || PLAIN.test(text)) return text
  return bytePath(text)
}

/** The order of every index: a directory before what it holds, siblings by their bytes. */
export function comparePaths(a: BytePath, b: BytePath): number {
  if (a === b) return 0
  const shorter = Math.min(a.length, b.length)
  let at = 0
  while (at < shorter && a.charCodeAt(at) === b.charCodeAt(at)) at += 1
  return rank(a, at) - rank(b, at)
}

/** The end of a path sorts before a slash, a slash before any other byte. */
function rank(path: BytePath, at: number): number {
  if (at === path.length) return -1
  const code = path.charCodeAt(at)
  return code === SLASH ? 0 : code + 1
}

/** Whether `path` is `directory` or below it. */
export function isWithin(path: BytePath, directory: BytePath): boolean {
  if (directory === '' || path === directory) return true
  return path.startsWith(directory) && path.charCodeAt(directory.length) === SLASH
}

export function joinPath(directory: BytePath, name: BytePath): BytePath {
  return directory === '' ? name : `${directory}/${name}`
}

export function parentOf(path: BytePath): BytePath {
  const slash = path.lastIndexOf('/')
  return slash < 0 ? '' : path.slice(0, slash)
}

export function nameOf(path: BytePath): BytePath {
  return path.slice(path.lastIndexOf('/') + 1)
}
