import { FleetError } from '../../../shared/errors.ts'
import { type BytePath, displayPath } from '../byte-path.ts'

/** Of one part of a path that passes. */
export const MAX_NAME_BYTES = 255
/** As our own archives and most others have names: nothing in it that needs to be looked at part by part. */
const PLAIN = /^\.\/(?!\.\.?(?:\/|$))[^/\0]{1,255}(?:\/(?!\.\.?(?:\/|$))[^/\0]{1,255})*$/

/**
 * Where in the tree a member's name means. Only names that stay below the root pass.
 * @throws refused, naming the member
 */
export function placeOf(name: BytePath): BytePath {
  if (PLAIN.test(name)) return name.slice(2)
  const refuse = (why: string) => new FleetError('refused', `member '${displayPath(name)}': ${why}`)
  if (name.startsWith('/')) throw refuse('its path is absolute')
  if (name.includes('\0')) throw refuse('its path holds a NUL')
  const parts = name.split('/').filter((part) => part !== '' && part !== '.')
  if (parts.includes('..')) throw refuse("its path leads up by '..'")
  if (parts.some((part) => part.length > MAX_NAME_BYTES)) throw refuse('a part of its path is too long')
  return parts.join('/')
}

/**
 * Whether a symbolic link at `path` points to somewhere below the root, whatever other links of the tree it meets: `..` counts only where
 * it leads up from the link's own directory. Behind a name it leads up from where that name may lead as a link, which nobody knows.
 */
export function staysInside(path: BytePath, text: BytePath): boolean {
  if (text.startsWith('/')) return false
  const parts = path.split('/').slice(0, -1)
  let hasDescended = false
  for (const part of text.split('/')) {
    if (part === '' || part === '.') continue
    if (part !== '..') hasDescended = true
    else if (hasDescended || parts.pop() === undefined) return false
  }
  return true
}
