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

export function sealBytes(key: Buffer, nonce: Buffer, bytes: Uint8Array): Buffer {
  const sealed = Buffer.allocUnsafe(bytes.length + TAG_BYTES)
  sealInto(sealed, { key, nonce, bytes })
  return sealed
}

/** @returns how many bytes of `target` it took: the content and its tag */
export function sealInto(
  target: Buffer,
  { key, nonce, bytes }: { readonly key: Buffer; readonly nonce: Buffer; readonly bytes: Uint8Array },
): number {
  const cipher = createCipheriv(CIPHER, key, nonce, OPTIONS)
  target.set(cipher.update(bytes), 0)
  cipher.final()
  target.set(cipher.getAuthTag(), bytes.length)
  return bytes.length + TAG_BYTES
}

/** @returns undefined when they were sealed otherwise, or changed */
export function openBytes(key: Buffer, nonce: Buffer, sealed: Buffer): Buffer | undefined {
  const end = sealed.length - TAG_BYTES
  if (end < 0) return undefined
  const decipher = createDecipheriv(CIPHER, key, nonce, OPTIONS)
  decipher.setAuthTag(sealed.subarray(end))
  const bytes = decipher.update(sealed.subarray(0, end))
  try {
    decipher.final()
  } catch {
    return undefined
  }
  return bytes
}
