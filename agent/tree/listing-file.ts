import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs'
import { z } from 'zod'

/**
 * A listing in a file: a header of 4 KiB (JSON, filled up with blanks), then the records of all entries but the root, by the names in
 * the root where they were asked for one by one (listing-diff.ts tells of records).
 */
const VERSION = 1
export const HEADER_BYTES = 4_096
const WINDOW_BYTES = 2 ** 18
/** A tree whose names in the root are further apart is not divided well whatever is done. */
const SEARCHED_BYTES = 4 * WINDOW_BYTES
const NUL = 0
const DOT = 0x2e
const QUESTION = 0x3f
const SLASH = '/'

const Header = z.object({
  version: z.literal(VERSION),
  /** The root's own record. */
  root: z.string(),
  bytes: z.number(),
  /** Where the next listing is divided: the first name of each part but the first, as base64, and where its records begin. */
  splits: z.array(z.object({ name: z.base64(), at: z.number() })),
})

export interface Split {
  /** One character a byte. */
  readonly name: string
  /** In the file. */
  readonly at: number
}

export interface OpenListing {
  readonly fd: number
  readonly root: string
  readonly splits: readonly Split[]
  /** Of the file. */
  readonly bytes: number
}

/** @returns undefined where there is none that can be read */
export function openListing(path: string): OpenListing | undefined {
  let fd: number | undefined
  try {
    fd = openSync(path, 'r')
    const header = Buffer.alloc(HEADER_BYTES)
    readSync(fd, header, 0, HEADER_BYTES, 0)
    const { root, bytes, splits } = Header.parse(JSON.parse(header.toString('latin1')))
    if (fstatSync(fd).size !== bytes) throw new Error('cut off')
    const named = splits.map(({ name, at }) => ({ name: Buffer.from(name, 'base64').toString('latin1'), at }))
    return { fd, root, bytes, splits: named }
  } catch {
    if (fd !== undefined) closeSync(fd)
    return undefined // gone, or not of this version: the tree is walked
  }
}

/** Makes a file of records a listing. @param parts into how many the next is to be divided */
export function sealListing(path: string, next: { readonly root: string; readonly parts: number }): void {
  const fd = openSync(path, 'r+')
  try {
    seal(fd, next)
  } finally {
    closeSync(fd)
  }
}

function seal(fd: number, { root, parts }: { readonly root: string; readonly parts: number }): void {
  const bytes = fstatSync(fd).size
  const splits: { name: string; at: number }[] = []
  for (let part = 1; part < parts; part += 1) {
    const from = HEADER_BYTES + Math.floor(((bytes - HEADER_BYTES) * part) / parts)
    const split = splitBehind(fd, from)
    if (split !== undefined && split.at > (splits.at(-1)?.at ?? HEADER_BYTES))
      splits.push({ name: Buffer.from(split.name, 'latin1').toString('base64'), at: split.at })
  }
  const text = JSON.stringify({ version: VERSION, root, bytes, splits })
  writeSync(fd, Buffer.from(text.padEnd(HEADER_BYTES), 'latin1'), 0, HEADER_BYTES, 0)
}

/** The first entry of the root whose records begin behind this place. */
function splitBehind(fd: number, from: number): Split | undefined {
  const window = Buffer.allocUnsafe(WINDOW_BYTES)
  for (let position = from; position < from + SEARCHED_BYTES; ) {
    const read = readSync(fd, window, 0, WINDOW_BYTES, position)
    const end = window.subarray(0, read).lastIndexOf(NUL) + 1
    if (end < 2) return undefined
    for (let start = window.indexOf(NUL) + 1; start > 0 && start < end; start = window.indexOf(NUL, start) + 1) {
      const next = window.indexOf(NUL, start)
      if (next < 0 || next >= end) break
      const name = nameInRoot(window.toString('latin1', start, next))
      if (name !== undefined) return { name, at: position + start }
    }
    // The last name once more: what is behind it may have been cut.
    position += Math.max(1, window.lastIndexOf(NUL, end - 2))
    if (read < WINDOW_BYTES) return undefined
  }
  return undefined
}

/** @param field a path, perhaps behind a mark, or what is told of one */
function nameInRoot(field: string): string | undefined {
  const first = field.charCodeAt(0)
  if (first !== DOT && first !== QUESTION) return undefined
  const name = field.slice(field.indexOf('.') + 2)
  return name.includes(SLASH) ? undefined : name
}
