import { FleetError } from '../../shared/errors.ts'

const MAX_PATH_BYTES = 2048
const MAX_NAME_BYTES = 255
// biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is refused
const UNFIT = /[\u0000-\u001f\u007f\\\ufffd]|[\ud800-\udfff](?![\udc00-\udfff])/

/** `a/b` into its names; `''` and `/` are the root. @throws FleetError `invalid` */
export function segmentsOf(path: string): readonly string[] {
  const segments = path.split('/').filter((segment) => segment !== '')
  const fit = Buffer.byteLength(path) <= MAX_PATH_BYTES && segments.every(isName)
  if (!fit)
    throw new FleetError('invalid', 'a path on a target must be plain names with / between them', { field: 'path' })
  return segments
}

/** Whether it can be one name in a path; used of what servers list as well. */
export function isName(name: string): boolean {
  const reserved = name === '' || name === '.' || name === '..' || name.includes('/') || UNFIT.test(name)
  return !reserved && Buffer.byteLength(name) <= MAX_NAME_BYTES
}

export function joinPath(...paths: readonly string[]): string {
  return paths.flatMap(segmentsOf).join('/')
}

export function parentOf(path: string): string {
  return segmentsOf(path).slice(0, -1).join('/')
}

export function nameOf(path: string): string {
  const name = segmentsOf(path).at(-1)
  if (name === undefined) throw new FleetError('invalid', 'the path names no file', { field: 'path' })
  return name
}

const PARTIAL = /^\.[0-9a-f]{16}\.partial$/

/** Where a file is written until it is whole: beside it, hidden, never the same twice. @param token 16 hexadecimal digits */
export function partialPathOf(path: string, token: string): string {
  return joinPath(parentOf(path), `.${token}.partial`)
}

export function isPartial(name: string): boolean {
  return PARTIAL.test(name)
}

/** UTF-8 order, as S3 lists and as a cursor is compared. */
export function compareNames(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right))
}
