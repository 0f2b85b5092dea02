import { createCipheriv, createDecipheriv, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { FleetError } from '../../shared/errors.ts'
import type { Fingerprints } from '../core/idempotency.ts'
import { KEY_ID_LENGTH, type Keyring, type SecretsKey } from './keyring.ts'

/** version, key id, nonce | ciphertext | tag */
const VERSION = 1
const NONCE_LENGTH = 12
const TAG_LENGTH = 16
const HEAD_LENGTH = 1 + KEY_ID_LENGTH + NONCE_LENGTH

/** Where a sealed value stands. It opens nowhere else: one row's secret cannot be moved into another row. */
export interface Place {
  readonly table: string
  readonly id: string
  readonly field: string
}

export interface Vault {
  /** Names the key that seals. */
  readonly keyId: string
  seal(place: Place, secret: Buffer): Buffer
  /** @throws internal when it was changed, moved, or sealed with a key that is not ours; the message tells which. */
  open(place: Place, sealed: Buffer): Buffer
  /** HMAC-SHA256 with a key of its own, for what must be shown to be ours. */
  mark(bytes: Buffer): { readonly bytes: Buffer; readonly keyId: string }
  /** Whether one of our keys made it, over these very bytes. */
  checkMark(bytes: Buffer, mark: { readonly bytes: Buffer; readonly keyId: string }): boolean
  /** HMAC-SHA256 with a key of its own, hexadecimal, the newest key's first: who has no key can try no guesses against it. */
  fingerprints(bytes: Buffer): Fingerprints
}

/** Seals with the first key, opens with any: AES-256-GCM, a random nonce for every seal. */
export function createVault(keys: Keyring): Vault {
  const [newest] = keys

  return {
    keyId: newest.id,

    seal(place, secret) {
      const nonce = randomBytes(NONCE_LENGTH)
      const head = Buffer.concat([Buffer.of(VERSION), Buffer.from(newest.id, 'hex'), nonce])
      const cipher = createCipheriv('aes-256-gcm', newest.sealing, nonce)
      cipher.setAAD(associated(head, place))
      return Buffer.concat([head, cipher.update(secret), cipher.final(), cipher.getAuthTag()])
    },

    open(place, sealed) {
      if (sealed.length < HEAD_LENGTH + TAG_LENGTH || sealed[0] !== VERSION)
        throw unopened(place, 'is not a sealed value')
      const head = sealed.subarray(0, HEAD_LENGTH)
      const keyId = head.subarray(1, 1 + KEY_ID_LENGTH).toString('hex')
      const key = keyNamed(keys, keyId)
      if (key === undefined) throw unopened(place, `was sealed with the key ${keyId}, which is not among ours`)
      const decipher = createDecipheriv('aes-256-gcm', key.sealing, head.subarray(1 + KEY_ID_LENGTH))
      decipher.setAAD(associated(head, place))
      decipher.setAuthTag(sealed.subarray(-TAG_LENGTH))
      try {
        return Buffer.concat([decipher.update(sealed.subarray(HEAD_LENGTH, -TAG_LENGTH)), decipher.final()])
      } catch {
        throw unopened(place, 'was changed, or moved from another row')
      }
    },

    mark: (bytes) => ({ bytes: hmac(newest.marking, bytes), keyId: newest.id }),

    checkMark(bytes, mark) {
      const key = keyNamed(keys, mark.keyId)
      if (key === undefined) return false
      const expected = hmac(key.marking, bytes)
      return expected.length === mark.bytes.length && timingSafeEqual(expected, mark.bytes)
    },

    fingerprints(bytes) {
      const [, ...others] = keys
      const of = (key: SecretsKey) => hmac(key.comparing, bytes).toString('hex')
      return [of(newest), ...others.map(of)]
    },
  }
}

function keyNamed(keys: Keyring, id: string): SecretsKey | undefined {
  return keys.find((key) => key.id === id)
}

function hmac(key: Buffer, bytes: Buffer): Buffer {
  return createHmac('sha256', key).update(bytes).digest()
}

/** As JSON, so that no two places share their bytes. */
function associated(head: Buffer, { table, id, field }: Place): Buffer {
  return Buffer.concat([head, Buffer.from(JSON.stringify([table, id, field]))])
}

function unopened({ table, id, field }: Place, why: string): FleetError {
  return new FleetError('internal', 'a secret cannot be opened', { detail: `${table} ${id} ${field}: ${why}` })
}
