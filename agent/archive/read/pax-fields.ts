import { FleetError } from '../../../shared/errors.ts'
import { BLOCK } from '../tar-header.ts'
import { type ByteReader, readExactly } from './byte-reader.ts'

export const MAX_EXTENTS = 2 ** 22
const MAX_DIGITS = 20
const NOT_ASCII = /[\x80-\xff]/

export interface Extent {
  readonly offset: number
  readonly size: number
}

/** Where a member's holes are told: in its headers, or in the first blocks of its content (GNU's format 1.0). */
export type SparseForm =
  | { readonly kind: 'listed'; readonly extents: readonly Extent[]; readonly size: number }
  | { readonly kind: 'in-content'; readonly size: number }

export interface PaxFields {
  /** Of a keyword, which is text, its value, which is bytes: one character each (latin1). The later of two records holds. */
  readonly values: Map<string, string>
  /** Of GNU's format 0.0, whose keywords repeat. */
  readonly sparsePairs: number[]
}

/** @throws corrupt */
export function parsePax(bytes: Buffer): PaxFields {
  // One string, cut: a Buffer for each field costs more than all of the rest.
  const text = bytes.toString('latin1')
  const values = new Map<string, string>()
  const sparsePairs: number[] = []
  for (let at = 0; at < text.length; ) {
    const space = text.indexOf(' ', at)
    const length = space < 0 || space - at > MAX_DIGITS ? Number.NaN : Number(text.slice(at, space))
    const end = at + length
    const equals = text.indexOf('=', space + 1)
    if (!Number.isInteger(length) || end > text.length || equals < 0 || equals >= end || text[end - 1] !== '\n')
      throw new FleetError('corrupt', 'a pax header of the archive is damaged')
    const key = keyword(text.slice(space + 1, equals))
    const value = text.slice(equals + 1, end - 1)
    if (key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes') sparsePairs.push(Number(value))
    else values.set(key, value)
    at = end
  }
  return { values, sparsePairs }
}

function keyword(bytes: string): string {
  return NOT_ASCII.test(bytes) ? Buffer.from(bytes, 'latin1').toString('utf8') : bytes
}

/** @throws corrupt */
export function sparseOf({ values, sparsePairs }: PaxFields): SparseForm | undefined {
  const size = wholeNumber(values.get('GNU.sparse.realsize') ?? values.get('GNU.sparse.size') ?? '0')
  if (values.get('GNU.sparse.major') === '1') return { kind: 'in-content', size }
  const map = values.get('GNU.sparse.map')
  if (map !== undefined) return { kind: 'listed', extents: pairs(map.split(',').map(wholeNumber)), size }
  if (sparsePairs.length > 0) return { kind: 'listed', extents: pairs(sparsePairs), size }
  return undefined
}

export interface HoleMap {
  readonly extents: readonly Extent[]
  /** As stored, with its padding. */
  readonly bytes: Buffer
}

/** Reads the map before the data of a member in GNU's format 1.0. @throws corrupt */
export function readHoleMap(reader: ByteReader): HoleMap {
  const blocks: Buffer[] = []
  let text = ''
  const numbers: number[] = []
  for (;;) {
    const block = Buffer.from(readExactly(reader, BLOCK))
    blocks.push(block)
    text += block.toString('latin1')
    const lines = text.split('\n')
    text = lines.pop() ?? ''
    for (const line of lines) {
      // What is behind the last number fills its block.
      if (numbers.length === 0 || numbers.length <= 2 * (numbers[0] ?? 0)) numbers.push(wholeNumber(line))
    }
    const [count] = numbers
    if (count === undefined || count > MAX_EXTENTS)
      throw new FleetError('corrupt', 'a hole map of the archive is damaged')
    if (numbers.length > 2 * count)
      return { extents: pairs(numbers.slice(1, 1 + 2 * count)), bytes: Buffer.concat(blocks) }
  }
}

function pairs(numbers: readonly number[]): readonly Extent[] {
  const extents: Extent[] = []
  for (let at = 0; at + 1 < numbers.length; at += 2)
    extents.push({ offset: numbers[at] ?? 0, size: numbers[at + 1] ?? 0 })
  return extents
}

/** @throws corrupt: extents that overlap, run backwards, or lie beyond the file */
export function checkExtents(extents: readonly Extent[], size: number): void {
  let end = 0
  for (const extent of extents) {
    if (extent.offset < end) throw new FleetError('corrupt', 'the holes of a member make no sense')
    end = extent.offset + extent.size
  }
  if (end > size) throw new FleetError('corrupt', 'the holes of a member make no sense')
}

/** @throws corrupt */
export function wholeNumber(text: string): number {
  const value = Number(text)
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(value))
    throw new FleetError('corrupt', 'a number in the archive is none')
  return value
}
