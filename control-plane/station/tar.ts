import type { Bytes } from '../../shared/age-stream.ts'
import { FleetError } from '../../shared/errors.ts'

/** One file of a tar, small enough to be held. */
export interface Member {
  readonly name: string
  readonly bytes: Buffer
}

const BLOCK_BYTES = 512
const MAX_NAME = 100
/** Of somebody else's file; ours stay far below. */
const MAX_MEMBER_BYTES = 2 ** 28

/** POSIX ustar, mode 0600: what any tar reads. */
export async function* tarred(members: AsyncIterable<Member>): AsyncGenerator<Buffer> {
  for await (const { name, bytes } of members) {
    yield headerOf(name, bytes.length)
    if (bytes.length > 0) yield bytes
    if (paddingOf(bytes.length) > 0) yield Buffer.alloc(paddingOf(bytes.length))
  }
  yield Buffer.alloc(2 * BLOCK_BYTES)
}

/** @throws corrupt where it is no tar of ours, or cut. */
export async function* untarred(source: Bytes): AsyncGenerator<Member> {
  const reader = createReader(source)
  for (;;) {
    const header = await reader.take(BLOCK_BYTES)
    if (header.every((byte) => byte === 0)) return reader.end()
    const { name, size } = readHeader(header)
    const bytes = Buffer.from(await reader.take(size))
    await reader.take(paddingOf(size))
    yield { name, bytes }
  }
}

function paddingOf(size: number): number {
  return (BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES
}

function headerOf(name: string, size: number): Buffer {
  if (Buffer.byteLength(name) > MAX_NAME) throw new RangeError(`a member's name is too long: ${name}`)
  const header = Buffer.alloc(BLOCK_BYTES)
  const octal = (value: number, digits: number) => `${value.toString(8).padStart(digits, '0')}\0`
  header.write(name, 0)
  header.write(octal(0o600, 7), 100)
  header.write(octal(0, 7), 108)
  header.write(octal(0, 7), 116)
  header.write(octal(size, 11), 124)
  header.write(octal(Math.floor(Date.now() / 1000), 11), 136)
  header.write(' '.repeat(8), 148)
  header.write('0', 156)
  header.write('ustar\x0000', 257)
  header.write(`${checksumOf(header).toString(8).padStart(6, '0')}\0 `, 148)
  return header
}

/** With the field of the checksum itself as spaces. */
function checksumOf(header: Buffer): number {
  return header.reduce((sum, byte, at) => sum + (at >= 148 && at < 156 ? 32 : byte), 0)
}

function readHeader(header: Buffer): { readonly name: string; readonly size: number } {
  const field = (from: number, length: number) =>
    header.toString('latin1', from, from + length).replace(/[\0 ].*$/s, '')
  const size = Number.parseInt(field(124, 12), 8)
  const isOurs = field(257, 5) === 'ustar' && Number.parseInt(field(148, 8), 8) === checksumOf(header)
  if (!isOurs || !(size >= 0 && size <= MAX_MEMBER_BYTES)) throw damaged('it is no archive of a station')
  return { name: field(0, MAX_NAME), size }
}

export function damaged(how: string): FleetError {
  return new FleetError('corrupt', `the backup is damaged: ${how}`)
}

function createReader(source: Bytes) {
  const pieces = source[Symbol.asyncIterator]()
  let held: Uint8Array[] = []
  let bytes = 0
  return {
    /** Reads what is left, so that a cut behind the last member is found too. */
    async end(): Promise<void> {
      while (!(await pieces.next()).done);
    },
    async take(wanted: number): Promise<Buffer> {
      while (bytes < wanted) {
        const next = await pieces.next()
        if (next.done) throw damaged('it is cut')
        held.push(next.value)
        bytes += next.value.length
      }
      const all =
        held.length === 1 && held[0]
          ? Buffer.from(held[0].buffer, held[0].byteOffset, held[0].length)
          : Buffer.concat(held)
      held = [all.subarray(wanted)]
      bytes -= wanted
      return all.subarray(0, wanted)
    },
  }
}
