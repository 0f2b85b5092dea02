import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
} from 'node:crypto'

/** version, ephemeral public key | ciphertext | tag */
const VERSION = 1
const KEY_LENGTH = 32
const TAG_LENGTH = 16
const HEAD_LENGTH = 1 + KEY_LENGTH
/** One key for one message: the nonce may be a constant. */
const NONCE = Buffer.alloc(12)
/** What DER puts before the 32 bytes of an X25519 key (RFC 8410). */
const PUBLIC_PREFIX = Buffer.from('302a300506032b656e032100', 'hex')
const PRIVATE_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex')

/** X25519 keys as their 32 raw bytes. */
export interface BoxKeys {
  readonly publicKey: Buffer
  readonly privateKey: Buffer
}

export function newBoxKeys(): BoxKeys {
  const { publicKey, privateKey } = generateKeyPairSync('x25519')
  return {
    publicKey: publicKey.export({ format: 'der', type: 'spki' }).subarray(-KEY_LENGTH),
    privateKey: privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(-KEY_LENGTH),
  }
}

/** What goes with a private key. @throws Error when it is not one. */
export function publicKeyOf(privateKey: Buffer): Buffer {
  return createPublicKey(privateObject(privateKey)).export({ format: 'der', type: 'spki' }).subarray(-KEY_LENGTH)
}

/** What both ends of an exchange come to: 32 bytes, to be hashed before use. @throws Error when a key is none, or of low order */
export function agreedSecret(privateKey: Buffer, publicKey: Buffer): Buffer {
  return diffieHellman({ privateKey: privateObject(privateKey), publicKey: publicObject(publicKey) })
}

/** Whether a public key is one with which a secret can be agreed: those of low order yield the same for everybody. */
export function isExchangeKey(publicKey: Buffer): boolean {
  try {
    agreedSecret(newBoxKeys().privateKey, publicKey)
    return true
  } catch {
    return false
  }
}

/**
 * Seals `bytes` so that only the holder of the private key reads them, and only as what they were sealed for: X25519 with a
 * key made for this message, HKDF-SHA256, AES-256-GCM. It does not prove who sealed.
 * @param context what it is for and to whom it goes, such as `job/<id>/target-password`; opening needs the same.
 * @throws Error when the public key is not one.
 */
export function sealFor(publicKey: Buffer, bytes: Buffer, context: string): Buffer {
  const ephemeral = newBoxKeys()
  const head = Buffer.concat([Buffer.of(VERSION), ephemeral.publicKey])
  const key = agree({ ours: ephemeral.privateKey, theirs: publicKey, salt: Buffer.concat([head, publicKey]), context })
  const cipher = createCipheriv('aes-256-gcm', key, NONCE)
  cipher.setAAD(head)
  return Buffer.concat([head, cipher.update(bytes), cipher.final(), cipher.getAuthTag()])
}

/** @throws Error when it was sealed for somebody or something else, or changed. */
export function openSealed(privateKey: Buffer, sealed: Buffer, context: string): Buffer {
  if (sealed.length < HEAD_LENGTH + TAG_LENGTH || sealed[0] !== VERSION) throw new Error('not a sealed box')
  const head = sealed.subarray(0, HEAD_LENGTH)
  const own = publicKeyOf(privateKey)
  const key = agree({ ours: privateKey, theirs: head.subarray(1), salt: Buffer.concat([head, own]), context })
  const decipher = createDecipheriv('aes-256-gcm', key, NONCE)
  decipher.setAAD(head)
  decipher.setAuthTag(sealed.subarray(-TAG_LENGTH))
  try {
    return Buffer.concat([decipher.update(sealed.subarray(HEAD_LENGTH, -TAG_LENGTH)), decipher.final()])
  } catch {
    throw new Error('the sealed box was made for another key or another end, or was changed')
  }
}

function agree(what: {
  readonly ours: Buffer
  readonly theirs: Buffer
  readonly salt: Buffer
  readonly context: string
}) {
  const shared = agreedSecret(what.ours, what.theirs)
  return Buffer.from(hkdfSync('sha256', shared, what.salt, `holdfast/box/v1/${what.context}`, KEY_LENGTH))
}

function publicObject(bytes: Buffer): KeyObject {
  return createPublicKey({ key: derOf(PUBLIC_PREFIX, bytes), format: 'der', type: 'spki' })
}

function privateObject(bytes: Buffer): KeyObject {
  return createPrivateKey({ key: derOf(PRIVATE_PREFIX, bytes), format: 'der', type: 'pkcs8' })
}

function derOf(prefix: Buffer, bytes: Buffer): Buffer {
  if (bytes.length !== KEY_LENGTH) throw new Error(`an X25519 key has ${KEY_LENGTH} bytes`)
  return Buffer.concat([prefix, bytes])
}
