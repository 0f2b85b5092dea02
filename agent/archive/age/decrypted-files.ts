import { identityKey } from '../../../shared/age-keys.ts'
import { FleetError } from '../../../shared/errors.ts'
import { RESTORE, SUMS } from '../frame-table.ts'
import type { PointFiles, RangeSource } from '../range-source.ts'
import { CHUNK_BYTES, nonceOf, openBytes, SEALED_CHUNK_BYTES, TAG_BYTES } from './age-chunks.ts'
import { damaged, type Identity, identityOf, MAX_HEADER_BYTES, openHeader } from './age-header.ts'
import { AGE_SUFFIX } from './encrypted-sink.ts'

/** Of the beginning of a file that is fetched at once: the header, and all of a small file. */
const HEAD_BYTES = 2 ** 14
/** Of one request while much is read. */
const CHUNKS_AT_ONCE = 128
const PLAIN: ReadonlySet<string> = new Set([RESTORE, SUMS])

/**
 * The files of a point as they were before they were encrypted; a plain point's as they are. A read fetches the chunks it needs
 * and no others; opening fetches the header and the last chunk, which proves that nothing is missing at the end.
 * @param identities `AGE-SECRET-KEY-1…`; with none, a plain point can be read
 * @throws FleetError invalid when one is none. Reading: refused when none of them opens the point; corrupt
 */
export function decryptedFiles(files: PointFiles, identities: readonly string[]): PointFiles {
  const keys = identities.map(identityOfText)
  let encrypted: boolean | undefined
  const open = async (name: string, signal: AbortSignal) =>
    openEncrypted(await files.open(`${name}${AGE_SUFFIX}`, signal), keys, signal)
  return {
    async open(name, signal) {
      if (PLAIN.has(name) || encrypted === false) return files.open(name, signal)
      if (encrypted === true) return open(name, signal)
      try {
        const source = await open(name, signal)
        encrypted = true
        return source
      } catch (error) {
        if (!(error instanceof FleetError) || error.code !== 'not_found') throw error
        const source = await files.open(name, signal)
        encrypted = false
        return source
      }
    },
  }
}

function identityOfText(identity: string): Identity {
  try {
    return identityOf(identityKey(identity))
  } catch (error) {
    // No cause: nothing that has seen the key goes on.
    throw new FleetError('invalid', `an identity ${error instanceof Error ? error.message : ''}`)
  }
}

async function openEncrypted(
  source: RangeSource,
  identities: readonly Identity[],
  signal: AbortSignal,
): Promise<RangeSource> {
  try {
    return await EncryptedRange.open(source, identities, signal)
  } catch (error) {
    await source[Symbol.asyncDispose]()
    throw error
  }
}

interface OpenChunks {
  /** Number of the first. */
  readonly first: number
  readonly bytes: Buffer
}

class EncryptedRange implements RangeSource {
  readonly size: number
  readonly #source: RangeSource
  readonly #key: Buffer
  /** Where the first chunk begins. */
  readonly #start: number
  readonly #lastNumber: number
  /** What came with the header, encrypted. */
  readonly #head: Buffer
  /** The chunk at which the last read ended: frames begin where others end, and many lie in one chunk. */
  #kept: OpenChunks | undefined

  private constructor(source: RangeSource, head: Buffer, opened: { payloadKey: Buffer; length: number }) {
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
    range.#kept = await range.#chunks(range.#lastNumber, range.#lastNumber, signal)
    return range
  }

  async read(offset: number, length: number, signal: AbortSignal): Promise<Buffer> {
    if (offset + length > this.size) throw new FleetError('corrupt', 'a file of the point is shorter than was recorded')
    const bytes = Buffer.allocUnsafeSlow(length)
    for (let done = 0; done < length; ) {
      const first = Math.floor((offset + done) / CHUNK_BYTES)
      const last = Math.min(Math.floor((offset + length - 1) / CHUNK_BYTES), first + CHUNKS_AT_ONCE - 1)
      const kept = this.#kept
      const chunks = kept?.first === first ? kept : await this.#chunks(first, last, signal)
      const from = offset + done - first * CHUNK_BYTES
      done += chunks.bytes.copy(bytes, done, from, from + length - done)
      this.#keepLast(chunks)
    }
    return bytes
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#source[Symbol.asyncDispose]()
  }

  #keepLast({ first, bytes }: OpenChunks): void {
    const more = Math.max(0, Math.ceil(bytes.length / CHUNK_BYTES) - 1)
    // A copy, as a view would hold on to all of them.
    this.#kept = { first: first + more, bytes: more === 0 ? bytes : Buffer.from(bytes.subarray(more * CHUNK_BYTES)) }
  }

  async #chunks(first: number, last: number, signal: AbortSignal): Promise<OpenChunks> {
    const from = this.#start + first * SEALED_CHUNK_BYTES
    const to = Math.min(this.#start + (last + 1) * SEALED_CHUNK_BYTES, this.#source.size)
    const sealed =
      to <= this.#head.length ? this.#head.subarray(from, to) : await this.#source.read(from, to - from, signal)
    const bytes = Buffer.allocUnsafeSlow(sealed.length - (last - first + 1) * TAG_BYTES)
    for (let number = first; number <= last; number += 1) {
      const at = (number - first) * SEALED_CHUNK_BYTES
      const nonce = nonceOf({ number, last: number === this.#lastNumber })
      const opened = openBytes(this.#key, nonce, sealed.subarray(at, at + SEALED_CHUNK_BYTES))
      if (opened === undefined) throw damaged('it is cut, or was changed')
      bytes.set(opened, (number - first) * CHUNK_BYTES)
    }
    return { first, bytes }
  }
}
