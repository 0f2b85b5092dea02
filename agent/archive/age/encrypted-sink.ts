import { createHash } from 'node:crypto'
import { CHUNK_BYTES, nonceOf, SEALED_CHUNK_BYTES, sealInto } from '../../../shared/age-chunks.ts'
import { newHeader } from '../../../shared/age-header.ts'
import { recipientKey } from '../../../shared/age-keys.ts'
import { FleetError } from '../../../shared/errors.ts'
import { RESTORE, SUMS } from '../frame-table.ts'
import type { ArchiveSink, SinkFile, StoredFile } from '../sink.ts'

export const AGE_SUFFIX = '.age'
/** What a holder of no key needs: to check the point, and to learn how it is restored. */
const PLAIN: ReadonlySet<string> = new Set([RESTORE, SUMS])
/** Of content that is encrypted at once: more than a frame of the usual size. */
const PIECE_BYTES = 128 * CHUNK_BYTES

/**
 * Encrypts what goes into a sink with age, to anybody who holds the private key of one of the recipients. It needs no private
 * key. `restore.sh` and `sums` stay plain.
 * @param recipients `age1…`, at least one
 * @throws FleetError invalid when one is none
 */
export function encryptedSink(sink: ArchiveSink, recipients: readonly string[]): ArchiveSink {
  if (recipients.length === 0) throw new FleetError('invalid', 'encryption needs a recipient')
  const keys = recipients.map(keyOfRecipient)
  return {
    async open(name, signal) {
      if (PLAIN.has(name)) return sink.open(name, signal)
      const stored = `${name}${AGE_SUFFIX}`
      return new EncryptedFile(await sink.open(stored, signal), stored, keys)
    },
    commit: () => sink.commit(),
    abort: () => sink.abort(),
  }
}

function keyOfRecipient(recipient: string): Buffer {
  try {
    return recipientKey(recipient)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : ''
    throw new FleetError('invalid', `a recipient ${why}`, { cause })
  }
}

/** Holds a chunk back until it is known whether it is the last. */
class EncryptedFile implements SinkFile {
  readonly #file: SinkFile
  readonly #name: string
  readonly #key: Buffer
  readonly #hash = createHash('sha256')
  readonly #held = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  #heldBytes = 0
  #number = 0
  #bytes = 0
  #out: Buffer
  #outBytes: number

  constructor(file: SinkFile, name: string, recipients: readonly Buffer[]) {
    this.#file = file
    this.#name = name
    const { bytes, payloadKey } = newHeader(recipients)
    this.#key = payloadKey
    this.#out = bytes
    this.#outBytes = bytes.length
  }

  async write(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; at += PIECE_BYTES) {
      this.#encrypt(chunk.subarray(at, at + PIECE_BYTES))
      await this.#flush()
    }
  }

  async close(): Promise<void> {
    this.#reserve(SEALED_CHUNK_BYTES)
    this.#seal(this.#held.subarray(0, this.#heldBytes), true)
    await this.#flush()
    await this.#file.close()
  }

  stored(): StoredFile {
    return this.#file.stored?.() ?? { name: this.#name, bytes: this.#bytes, sha256: this.#hash.copy().digest('hex') }
  }

  #encrypt(piece: Uint8Array): void {
    this.#reserve((Math.ceil(piece.length / CHUNK_BYTES) + 1) * SEALED_CHUNK_BYTES)
    let at = Math.min(CHUNK_BYTES - this.#heldBytes, piece.length)
    this.#hold(piece.subarray(0, at))
    if (at === piece.length) return
    this.#seal(this.#held, false)
    this.#heldBytes = 0
    for (; piece.length - at > CHUNK_BYTES; at += CHUNK_BYTES) this.#seal(piece.subarray(at, at + CHUNK_BYTES), false)
    this.#hold(piece.subarray(at))
  }

  #hold(bytes: Uint8Array): void {
    this.#held.set(bytes, this.#heldBytes)
    this.#heldBytes += bytes.length
  }

  #seal(bytes: Uint8Array, last: boolean): void {
    const nonce = nonceOf({ number: this.#number, last })
    this.#number += 1
    this.#outBytes += sealInto(this.#out.subarray(this.#outBytes), { key: this.#key, nonce, bytes })
  }

  /** The buffer grows to the largest piece and is used again: a sink has done with it when its write settles. */
  #reserve(bytes: number): void {
    if (this.#out.length - this.#outBytes >= bytes) return
    const grown = Buffer.allocUnsafeSlow(this.#outBytes + bytes)
    this.#out.copy(grown, 0, 0, this.#outBytes)
    this.#out = grown
  }

  async #flush(): Promise<void> {
    if (this.#outBytes === 0) return
    const bytes = this.#out.subarray(0, this.#outBytes)
    this.#outBytes = 0
    this.#bytes += bytes.length
    const written = this.#file.write(bytes)
    if (this.#file.stored === undefined) this.#hash.update(bytes)
    await written
  }
}
