import { createCipheriv, createDecipheriv } from 'node:crypto'

/** Of content in one chunk; the last may be shorter. */
export const CHUNK_BYTES = 2 ** 16
export const TAG_BYTES = 16
export const SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES

const CIPHER = 'chacha20-poly1305'
const OPTIONS = { authTagLength: TAG_BYTES }
const NONCE_BYTES = 12
const COUNTER_OFFSET = 5
const COUNTER_BYTES = 6
/** For a key that encrypts one thing and no other. */
export const NEVER_REPEATED = Buffer.alloc(NONCE_BYTES)

/** Which chunk of a file it is: chunks that change places, or an end that is not the end, do not open. */
export interface ChunkPlace {
  readonly number: number
  readonly last: boolean
}

/** Eleven bytes of counter, one that marks the last. (STREAM, as C2SP `age.md` has it) */
export function nonceOf({ number, last }: ChunkPlace): Buffer {
  const nonce = Buffer.alloc(NONCE_BYTES)
  nonce.writeUIntBE(number, COUNTER_OFFSET, COUNTER_BYTES)
  nonce[NONCE_BYTES - 1] = last ? 1 : 0
  return nonce
}

export interface Keyed {
  readonly key: Buffer
  readonly nonce: Buffer
  readonly bytes: Uint8Array
}

/** @param target has room for the content and its tag. @returns how many bytes it took */
export function sealInto(target: Buffer, { key, nonce, bytes }: Keyed): number {
  const cipher = createCipheriv(CIPHER, key, nonce, OPTIONS)
  move(cipher.update(bytes), target)
  cipher.final()
  target.set(cipher.getAuthTag(), bytes.length)
  return bytes.length + TAG_BYTES
}

/**
 * @param target has room for the content; what stands in it means nothing unless this succeeds
 * @returns false when the bytes were sealed otherwise, or changed
 */
export function openInto(target: Buffer, { key, nonce, bytes }: Keyed): boolean {
  const end = bytes.length - TAG_BYTES
  if (end < 0) return false
  const decipher = createDecipheriv(CIPHER, key, nonce, OPTIONS)
  decipher.setAuthTag(bytes.subarray(end))
  move(decipher.update(bytes.subarray(0, end)), target)
  try {
    decipher.final()
    return true
  } catch {
    return false
  }
}

/** Ciphers make a buffer a call; left to the collector, they come to 60 MiB before it looks. */
function move(made: Buffer, target: Buffer): void {
  target.set(made, 0)
  const { buffer } = made
  if (buffer instanceof ArrayBuffer && buffer.byteLength === made.length) buffer.transfer(0)
}
