import { createHash, hkdfSync } from 'node:crypto'

const KEY_BYTES = 32
const ID_BYTES = 8
export const KEY_ID_LENGTH = ID_BYTES

/** One secrets key: its name, and what is derived of it, so that no key serves two ends. */
export interface SecretsKey {
  /** Sixteen hex digits that tell nothing of the key. */
  readonly id: string
  readonly sealing: Buffer
  readonly marking: Buffer
  readonly comparing: Buffer
}

/** The first key seals, marks and makes fingerprints; all of them open, check and compare. */
export type Keyring = readonly [SecretsKey, ...SecretsKey[]]

function derive(key: Buffer, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key, '', `holdfast/${purpose}/v1`, KEY_BYTES))
}

/**
 * Keys as an operator gives them: 32 bytes each in base64 (`openssl rand -base64 32`), with commas or line ends between; the
 * newest first. Lines that begin with `#` are remarks.
 * @throws Error that tells which one is not usable, and nothing of what it holds.
 */
export function parseKeyring(text: string): Keyring {
  const words = text
    .split('\n')
    .filter((line) => !line.trimStart().startsWith('#'))
    .flatMap((line) => line.split(','))
    .map((word) => word.trim())
    .filter((word) => word !== '')
  const keys = words.map((word, n) => toKey(word, n + 1))
  const [first, ...others] = keys
  if (first === undefined) throw new Error('holds no key')
  if (new Set(keys.map(({ id }) => id)).size < keys.length) throw new Error('holds one key twice')
  return [first, ...others]
}

function toKey(word: string, n: number): SecretsKey {
  const key = /^[A-Za-z0-9+/_-]+=*$/.test(word) ? Buffer.from(word, 'base64') : Buffer.alloc(0)
  if (key.length !== KEY_BYTES) throw new Error(`key ${n} is not ${KEY_BYTES} bytes in base64`)
  const id = createHash('sha256').update(derive(key, 'name')).digest().subarray(0, ID_BYTES).toString('hex')
  return { id, sealing: derive(key, 'seal'), marking: derive(key, 'audit'), comparing: derive(key, 'compare') }
}
