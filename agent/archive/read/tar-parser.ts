import { FleetError } from '../../../shared/errors.ts'
import type { BytePath } from '../byte-path.ts'
import type { MemberType } from '../member.ts'
import { BLOCK, checksum, FLAGS, paddingOf } from '../tar-header.ts'
import { type ByteReader, readExactly } from './byte-reader.ts'
import { type PaxFields, parsePax, type SparseForm, sparseOf } from './pax-fields.ts'

/** Names, links, attributes and hole lists of one member; more is not a member but an attack. */
const MAX_EXTENSION_BYTES = 2 ** 26

export interface TarEntry {
  /** As it stands there: `./a`, with a slash behind a directory. */
  readonly name: BytePath
  readonly type: MemberType
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** What follows in the archive, before padding. */
  readonly storedSize: number
  /** Decimal seconds. */
  readonly mtime: string
  readonly link: BytePath
  readonly major: number
  readonly minor: number
  /** All fields of its pax header; values are bytes (latin1). */
  readonly attributes: ReadonlyMap<string, string>
  readonly sparse: SparseForm | undefined
}

const ZERO = 0x30
const SPACE = 0x20
const NO_BYTES = Buffer.alloc(0)
const ZEROS = Buffer.alloc(BLOCK)
const NO_FIELDS: PaxFields = { values: new Map(), sparsePairs: [] }

const TYPES: Readonly<Record<number, MemberType>> = {
  0: 'file',
  [FLAGS.file]: 'file',
  [FLAGS.contiguous]: 'file',
  [FLAGS.oldSparse]: 'file',
  [FLAGS.hardlink]: 'hardlink',
  [FLAGS.symlink]: 'symlink',
  [FLAGS.character]: 'character',
  [FLAGS.block]: 'block',
  [FLAGS.directory]: 'directory',
  [FLAGS.fifo]: 'fifo',
}

/**
 * Reads the headers of one member: ustar, pax, and GNU's long names and numbers, as GNU tar, bsdtar and we write them.
 * Behind it the reader stands at the content. @returns undefined at the end of the archive. @throws corrupt
 */
export function readEntry(reader: ByteReader): TarEntry | undefined {
  let pax = NO_FIELDS
  let longName: BytePath | undefined
  let longLink: BytePath | undefined
  for (;;) {
    if (!reader.more()) return undefined
    const block = readExactly(reader, BLOCK)
    if (isZero(block)) return undefined
    if (number(block, 148, 8) !== checksum(block)) throw new FleetError('corrupt', 'a header of the archive is damaged')
    const flag = block[156] ?? 0
    if (flag === FLAGS.pax) pax = parsePax(extension(reader, block))
    else if (flag === FLAGS.paxGlobal) extension(reader, block)
    else if (flag === FLAGS.longName) longName = wholeText(extension(reader, block))
    else if (flag === FLAGS.longLink) longLink = wholeText(extension(reader, block))
    else return entryOf(block, flag, { pax, longName, longLink }, reader)
  }
}

interface Extensions {
  readonly pax: PaxFields
  readonly longName: BytePath | undefined
  readonly longLink: BytePath | undefined
}

function entryOf(block: Buffer, flag: number, { pax, longName, longLink }: Extensions, reader: ByteReader): TarEntry {
  const { values } = pax
  const name = values.get('GNU.sparse.name') ?? values.get('path') ?? longName ?? plainName(block)
  const type = flag === 0 && name.endsWith('/') ? 'directory' : TYPES[flag]
  if (type === undefined) throw new FleetError('corrupt', 'a member of the archive has a type that is not known')
  const hasContent = type === 'file'
  return {
    name,
    type,
    mode: number(block, 100, 8) & 0o7777,
    uid: decimal(values, 'uid') ?? number(block, 108, 8),
    gid: decimal(values, 'gid') ?? number(block, 116, 8),
    storedSize: hasContent ? (decimal(values, 'size') ?? number(block, 124, 12)) : 0,
    mtime: values.get('mtime') ?? String(number(block, 136, 12)),
    link: values.get('linkpath') ?? longLink ?? untilNul(block, 157, 257),
    major: decimal(values, 'SCHILY.devmajor') ?? (isDevice(type) ? number(block, 329, 8) : 0),
    minor: decimal(values, 'SCHILY.devminor') ?? (isDevice(type) ? number(block, 337, 8) : 0),
    attributes: values,
    sparse: hasContent ? (flag === FLAGS.oldSparse ? oldSparse(Buffer.from(block), reader) : sparseOf(pax)) : undefined,
  }
}

function isDevice(type: MemberType): boolean {
  return type === 'character' || type === 'block'
}

/** GNU's format before pax: four extents in the header, the rest in blocks behind it. */
function oldSparse(block: Buffer, reader: ByteReader): SparseForm {
  const extents: { readonly offset: number; readonly size: number }[] = []
  const take = (from: Buffer, at: number, most: number) => {
    for (let index = 0; index < most; index += 1) {
      const place = at + index * 24
      if (from[place] === 0) return
      extents.push({ offset: number(from, place, 12), size: number(from, place + 12, 12) })
    }
  }
  take(block, 386, 4)
  for (let more = block[482] === 1; more; ) {
    const next = readExactly(reader, BLOCK)
    take(next, 0, 21)
    more = next[504] === 1
    if (extents.length * 24 > MAX_EXTENSION_BYTES) throw new FleetError('corrupt', 'a member has too many holes')
  }
  return { kind: 'listed', extents, size: number(block, 483, 12) }
}

/** @returns valid until the reader is asked again */
function extension(reader: ByteReader, block: Buffer): Buffer {
  const size = number(block, 124, 12)
  if (size > MAX_EXTENSION_BYTES) throw new FleetError('corrupt', 'a header of the archive is larger than any may be')
  return size === 0 ? NO_BYTES : readExactly(reader, size + paddingOf(size)).subarray(0, size)
}

function plainName(block: Buffer): BytePath {
  const name = untilNul(block, 0, 100)
  // GNU's own format has other things where ustar has a prefix.
  if (block[345] === 0 || block.toString('latin1', 257, 263) !== 'ustar\0') return name
  return `${untilNul(block, 345, 500)}/${name}`
}

function untilNul(bytes: Buffer, start: number, limit: number): BytePath {
  let end = start
  while (end < limit && bytes[end] !== 0) end += 1
  return end === start ? '' : bytes.toString('latin1', start, end)
}

function wholeText(bytes: Buffer): BytePath {
  return untilNul(bytes, 0, bytes.length)
}

function decimal(values: ReadonlyMap<string, string>, key: string): number | undefined {
  const digits = values.get(key)
  if (digits === undefined) return undefined
  const value = Number(digits)
  if (!/^\d+$/.test(digits) || !Number.isSafeInteger(value))
    throw new FleetError('corrupt', 'a number in the archive is none')
  return value
}

/** Octal digits, or GNU's base 256 where the first bit is set. */
function number(block: Buffer, at: number, length: number): number {
  const first = block[at] ?? 0
  const plain = plainNumber(block, at, at + length)
  if (plain >= 0) return plain
  if ((first & 0x80) === 0) {
    const digits = block.toString('latin1', at, at + length)
    const value = Number.parseInt(digits.replace(/\0.*$/s, '').trim() || '0', 8)
    if (Number.isNaN(value)) throw new FleetError('corrupt', 'a number in the archive is none')
    return value
  }
  // Negative ones are times before 1970 that no pax record corrects.
  let value = first === 0xff ? -1 : first & 0x7f
  for (let index = 1; index < length; index += 1) value = value * 256 + (block[at + index] ?? 0)
  if (!Number.isSafeInteger(value)) throw new FleetError('corrupt', 'a number in the archive is none')
  return value
}

/** @returns negative for what is not digits up to a NUL, a space or the end */
function plainNumber(block: Buffer, start: number, end: number): number {
  let value = 0
  for (let at = start; at < end; at += 1) {
    const digit = (block[at] ?? 0) - ZERO
    if (digit >= 0 && digit < 8) value = value * 8 + digit
    else return at > start && (digit === -ZERO || digit === SPACE - ZERO) ? value : -1
  }
  return value
}

function isZero(block: Buffer): boolean {
  return block[0] === 0 && block.equals(ZEROS)
}
