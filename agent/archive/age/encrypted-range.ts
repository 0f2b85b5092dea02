import { CHUNK_BYTES, nonceOf, openInto, SEALED_CHUNK_BYTES, TAG_BYTES } from '../../../shared/age-chunks.ts'
import { damaged, type Identity, MAX_HEADER_BYTES, openHeader } from '../../../shared/age-header.ts'
import { FleetError } from '../../../shared/errors.ts'
import type { RangeSource } from '../range-source.ts'

/** Of the beginning of a file that is fetched at once: the header, and all of a small file. */
const HEAD_BYTES = 2 ** 14
/** Of one request while much is read. */
const CHUNKS_AT_ONCE = 128

interface OpenChunk {
  readonly number: number
  readonly bytes: Buffer
}

/** The content of an encrypted file, from anywhere. Opening it has proved that its end is its end. */
export class EncryptedRange implements RangeSource {
  readonly size: number
  readonly #source: RangeSource
  readonly #key: Buffer
  /** Where the first chunk begins. */
  readonly #start: number
  readonly #lastNumber: number
  /** What came with the header, encrypted. */
  readonly #head: Buffer
  /** The chunk in which the last read ended: frames begin where others end, and many lie in one chunk. */
  #kept: OpenChunk | undefined

  private constructor(
    source: RangeSource,
    head: Buffer,
    opened: { readonly payloadKey: Buffer; readonly length: number },
  ) {
    this.#source = source
    this.#head = head
    this.#key = opened.payloadKey
    this.#start = opened.length
    const sealedBytes = source.size - this.#start
    const chunks = Math.max(1, Math.ceil(sealedBytes / SEALED_CHUNK_BYTES))
    const lastBytes = sealedBytes - (chunks - 1) * SEALED_CHUNK_BYTES
    // A last chunk without content is that of an empty file alone.
    if (lastBytes < TAG_BYTES || (lastBytes === TAG_BYTES && chunks > 1)) throw damaged('it is cut')
    this.#lastNumber = chunks - 1
    this.size = sealedBytes - chunks * TAG_BYTES
  }

  /** The source is this one's once it is open. @throws refused, corrupt, what the source tells */
  static async open(
    source: RangeSource,
    identities: readonly Identity[],
    signal: AbortSignal,
  ): Promise<EncryptedRange> {
    let head = await source.read(0, Math.min(HEAD_BYTES, source.size), signal)
    let opened = openHeader(head, identities)
    if (opened === undefined && source.size > head.length) {
      head = await source.read(0, Math.min(MAX_HEADER_BYTES + SEALED_CHUNK_BYTES, source.size), signal)
      opened = openHeader(head, identities)
    }
    if (opened === undefined) throw damaged('it is cut')
    const range = new EncryptedRange(source, head, opened)
    const last = range.#lastNumber
    range.#kept = range.#openWhole(last, await range.#sealed(last, last, signal))
    return range
  }

  async read(offset: number, length: number, signal: AbortSignal): Promise<Buffer> {
    if (offset + length > this.size) throw new FleetError('corrupt', 'a file of the point is shorter than was recorded')
    const bytes = Buffer.allocUnsafeSlow(length)
    const target = { bytes, offset }
    const end = length === 0 ? -1 : Math.floor((offset + length - 1) / CHUNK_BYTES)
    let number = Math.floor(offset / CHUNK_BYTES)
    const kept = this.#kept
    if (kept?.number === number && number <= end) {
      copyPart(kept, target)
      number += 1
    }
    for (; number <= end; number += CHUNKS_AT_ONCE) {
      const last = Math.min(end, number + CHUNKS_AT_ONCE - 1)
      const sealed = await this.#sealed(number, last, signal)
      for (let each = number; each <= last; each += 1)
        this.#openChunk(each, sealed.subarray((each - number) * SEALED_CHUNK_BYTES), target)
    }
    return bytes
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#source[Symbol.asyncDispose]()
  }

  /** @param sealed begins with the chunk. @param target what is read, and where in the file it begins */
  #openChunk(number: number, sealed: Buffer, target: { readonly bytes: Buffer; readonly offset: number }): void {
    const at = number * CHUNK_BYTES - target.offset
    const size = Math.min(CHUNK_BYTES, this.size - number * CHUNK_BYTES)
    if (at >= 0 && at + size <= target.bytes.length) {
      this.#open(number, sealed, target.bytes.subarray(at, at + size))
      return
    }
    const chunk = this.#openWhole(number, sealed)
    copyPart(chunk, target)
    this.#kept = chunk
  }

  #openWhole(number: number, sealed: Buffer): OpenChunk {
    const bytes = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, this.size - number * CHUNK_BYTES))
    this.#open(number, sealed, bytes)
    return { number, bytes }
  }

  #open(number: number, sealed: Buffer, target: Buffer): void {
    const nonce = nonceOf({ number, last: number === this.#lastNumber })
    const bytes = sealed.subarray(0, target.length + TAG_BYTES)
    if (!openInto(target, { key: this.#key, nonce, bytes })) throw damaged('it is cut, or was changed')
  }

  async #sealed(first: number, last: number, signal: AbortSignal): Promise<Buffer> {
    const from = this.#start + first * SEALED_CHUNK_BYTES
    const to = Math.min(this.#start + (last + 1) * SEALED_CHUNK_BYTES, this.#source.size)
    return to <= this.#head.length ? this.#head.subarray(from, to) : this.#source.read(from, to - from, signal)
  }
}

function copyPart({ number, bytes }: OpenChunk, target: { readonly bytes: Buffer; readonly offset: number }): void {
  const at = number * CHUNK_BYTES - target.offset
  const skipped = Math.max(0, -at)
  bytes.copy(target.bytes, Math.max(0, at), skipped, Math.min(bytes.length, target.bytes.length - at))
}
