import { type BytePath, bytesOf, isUtf8 } from './byte-path.ts'

export const BLOCK = 512
const NAME_BYTES = 100
const OCTAL_7 = 0o7777777
const OCTAL_11 = 0o77777777777

/** POSIX.1-2001 pax (`pax`, "ustar Interchange Format"), and GNU's L and K for names that no pax record can carry. */
export const FLAGS = {
  file: 0x30,
  hardlink: 0x31,
  symlink: 0x32,
  character: 0x33,
  block: 0x34,
  directory: 0x35,
  fifo: 0x36,
  pax: 0x78,
  paxGlobal: 0x67,
  longName: 0x4c,
  longLink: 0x4b,
  oldSparse: 0x53,
  contiguous: 0x37,
} as const

export interface HeaderFields {
  /** As it stands in the archive: `./a`, directories with a slash behind. */
  readonly name: BytePath
  readonly flag: number
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Of what follows the header, before padding. */
  readonly size: number
  /** Decimal seconds with nine places. */
  readonly mtime: string
  readonly link: BytePath
  readonly major: number
  readonly minor: number
  /** Complete pax records, from `paxRecord`. */
  readonly records: readonly Buffer[]
}

/** `length key=value\n`, where length counts itself. */
export function paxRecord(key: string, value: string | Buffer): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'latin1') : value
  const rest = Buffer.byteLength(key) + bytes.length + 3
  let length = rest + String(rest).length
  if (String(length).length !== String(rest).length) length = rest + String(length).length
  return Buffer.concat([Buffer.from(`${length} ${key}=`), bytes, Buffer.from('\n')])
}

export function paddingOf(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK
}

/**
 * Writes headers into a buffer of its own. Names stand raw in the ustar field while they fit: GNU tar and bsdtar then take
 * the bytes as they are in any locale. Longer ones are a pax record, or GNU's L and K where they are not UTF-8.
 */
export class HeaderEncoder {
  readonly #header = Buffer.alloc(BLOCK)
  #timeHeader: Buffer | undefined
  #bytes = Buffer.alloc(16 * BLOCK)
  #used = 0

  /** @returns valid until the next call */
  encode(fields: HeaderFields): Buffer {
    this.#used = 0
    if (isUsual(fields)) return this.#encodeUsual(fields)
    const records = [...fields.records]
    const name = this.#longText(fields.name, FLAGS.longName, 'path', records)
    const link = this.#longText(fields.link, FLAGS.longLink, 'linkpath', records)
    if (fields.size > OCTAL_11) records.push(paxRecord('size', String(fields.size)))
    if (fields.uid > OCTAL_7) records.push(paxRecord('uid', String(fields.uid)))
    if (fields.gid > OCTAL_7) records.push(paxRecord('gid', String(fields.gid)))
    if (fields.major > OCTAL_7) records.push(paxRecord('SCHILY.devmajor', String(fields.major)))
    if (fields.minor > OCTAL_7) records.push(paxRecord('SCHILY.devminor', String(fields.minor)))
    if (!isWholeSeconds(fields.mtime)) records.push(paxRecord('mtime', fields.mtime))
    if (records.length > 0) this.#body(FLAGS.pax, EXTENSION_NAME, records)
    this.#block(fields, name, link)
    return this.#bytes.subarray(0, this.#used)
  }

  /** Nearly every member: one block, and before it at most the time that no block can carry. */
  #encodeUsual(fields: HeaderFields): Buffer {
    if (!isWholeSeconds(fields.mtime)) this.#usualTime(fields.mtime)
    this.#block(fields, fields.name, fields.link)
    return this.#bytes.subarray(0, this.#used)
  }

  /** The same each time but for its digits. */
  #usualTime(mtime: string): void {
    if (this.#timeHeader === undefined) {
      this.#body(FLAGS.pax, EXTENSION_NAME, [paxRecord('mtime', mtime)])
      this.#timeHeader = Buffer.from(this.#bytes.subarray(0, this.#used))
    } else {
      this.#used = this.#timeHeader.copy(this.#bytes)
      this.#bytes.write(mtime, USUAL_TIME_AT, 'latin1')
    }
  }

  #longText(text: BytePath, flag: number, key: string, records: Buffer[]): BytePath {
    if (text.length <= NAME_BYTES) return text
    if (isUtf8(text)) records.push(paxRecord(key, text))
    else this.#body(flag, '././@LongLink', [bytesOf(text), Buffer.alloc(1)])
    return text.slice(0, NAME_BYTES)
  }

  #body(flag: number, name: string, parts: readonly Buffer[]): void {
    const size = parts.reduce((sum, part) => sum + part.length, 0)
    this.#block({ ...EXTENSION, flag, size }, name, '')
    const end = this.#used + size + paddingOf(size)
    this.#grow(end)
    for (const part of parts) {
      part.copy(this.#bytes, this.#used)
      this.#used += part.length
    }
    this.#bytes.fill(0, this.#used, end)
    this.#used = end
  }

  #block(fields: HeaderFields, name: BytePath, link: BytePath): void {
    this.#grow(this.#used + BLOCK)
    const block = this.#header
    block.fill(0)
    block.write(name, 0, 'latin1')
    octal(block, 100, 7, fields.mode)
    octal(block, 108, 7, Math.min(fields.uid, OCTAL_7))
    octal(block, 116, 7, Math.min(fields.gid, OCTAL_7))
    octal(block, 124, 11, Math.min(fields.size, OCTAL_11))
    octal(block, 136, 11, Math.max(0, Math.min(Math.floor(Number(fields.mtime)), OCTAL_11)))
    block[156] = fields.flag
    block.write(link, 157, 'latin1')
    block.write('ustar\x0000', 257, 'latin1')
    if (fields.flag === FLAGS.character || fields.flag === FLAGS.block) {
      octal(block, 329, 7, Math.min(fields.major, OCTAL_7))
      octal(block, 337, 7, Math.min(fields.minor, OCTAL_7))
    }
    octal(block, 148, 6, checksumOf(block, name.length, link.length))
    block[155] = 0x20
    this.#used += block.copy(this.#bytes, this.#used)
  }

  #grow(bytes: number): void {
    if (bytes <= this.#bytes.length) return
    const larger = Buffer.alloc(2 * bytes)
    this.#bytes.copy(larger, 0, 0, this.#used)
    this.#bytes = larger
  }
}

const EXTENSION_NAME = './PaxHeaders/x'
const EXTENSION: Omit<HeaderFields, 'flag' | 'size'> = {
  name: '',
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtime: '0.000000000',
  link: '',
  major: 0,
  minor: 0,
  records: [],
}

const USUAL_TIME_BYTES = '1700000000.123456789'.length
const USUAL_TIME_AT = BLOCK + '30 mtime='.length

function isUsual({ name, link, records, size, uid, gid, major, minor, mtime }: HeaderFields): boolean {
  return (
    name.length <= NAME_BYTES &&
    link.length <= NAME_BYTES &&
    records.length === 0 &&
    size <= OCTAL_11 &&
    uid <= OCTAL_7 &&
    gid <= OCTAL_7 &&
    major <= OCTAL_7 &&
    minor <= OCTAL_7 &&
    mtime.length === USUAL_TIME_BYTES
  )
}

function isWholeSeconds(mtime: string): boolean {
  return mtime.endsWith('.000000000') && /^\d{1,10}\./.test(mtime)
}

function octal(block: Buffer, offset: number, digits: number, value: number): void {
  let rest = value
  for (let at = offset + digits - 1; at >= offset; at -= 1) {
    block[at] = 0x30 + (rest % 8)
    rest = Math.floor(rest / 8)
  }
}

/** The same as `checksum` of what `#block` wrote, without the zeros between. */
function checksumOf(block: Buffer, nameBytes: number, linkBytes: number): number {
  let sum = 8 * 0x20
  for (let at = 0; at < nameBytes; at += 1) sum += block[at] ?? 0
  for (let at = 100; at < 148; at += 1) sum += block[at] ?? 0
  for (let at = 156; at < 157 + linkBytes; at += 1) sum += block[at] ?? 0
  for (let at = 257; at < 265; at += 1) sum += block[at] ?? 0
  for (let at = 329; at < 345; at += 1) sum += block[at] ?? 0
  return sum
}

const SUMMED = Buffer.alloc(BLOCK)
const SUMMED_WORDS = new Int32Array(SUMMED.buffer, SUMMED.byteOffset, BLOCK / Int32Array.BYTES_PER_ELEMENT)
const OWN_FIELD_WORD = 148 / Int32Array.BYTES_PER_ELEMENT
const OWN_FIELD_WORDS = 2
const EVERY_OTHER_BYTE = 0x00ff00ff

/** Of all bytes of a block, with its own field (148 to 155) read as spaces. */
export function checksum(block: Buffer): number {
  SUMMED.set(block)
  // Two sums of 16 bits each, which 504 bytes cannot overflow: four bytes at a time take a quarter of the time.
  let sums = 0
  for (let at = 0; at < SUMMED_WORDS.length; at += 1) {
    if (at === OWN_FIELD_WORD) at += OWN_FIELD_WORDS
    const word = SUMMED_WORDS[at] ?? 0
    sums = (sums + (word & EVERY_OTHER_BYTE) + ((word >>> 8) & EVERY_OTHER_BYTE)) | 0
  }
  return 8 * 0x20 + (sums & 0xffff) + (sums >>> 16)
}
