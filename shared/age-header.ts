import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'
import { base64nopad } from '@scure/base'
import { NEVER_REPEATED, openInto, sealInto, TAG_BYTES } from './age-chunks.ts'
import { FleetError } from './errors.ts'
import { agreedSecret, newBoxKeys, publicKeyOf } from './sealed-box.ts'

const VERSION = 'age-encryption.org/v1'
const X25519 = 'X25519'
const WRAP_CONTEXT = `${VERSION}/${X25519}`
const FILE_KEY_BYTES = 16
const KEY_BYTES = 32
const NONCE_BYTES = 16
const BODY_COLUMNS = 64
/** Of somebody else's file; ours has 100 bytes a recipient. */
export const MAX_HEADER_BYTES = 2 ** 16

export interface Identity {
  readonly privateKey: Buffer
  readonly publicKey: Buffer
}

interface Stanza {
  readonly kind: string
  readonly args: readonly string[]
  readonly body: Buffer
}

export function identityOf(privateKey: Buffer): Identity {
  return { privateKey, publicKey: publicKeyOf(privateKey) }
}

/**
 * What stands before the chunks of one file, with keys of its own: age-encryption.org/v1, C2SP `age.md`.
 * @param recipients public keys, 32 bytes each; whoever has the private key of any of them can read the file
 */
export function newHeader(recipients: readonly Buffer[]): { readonly bytes: Buffer; readonly payloadKey: Buffer } {
  const fileKey = randomBytes(FILE_KEY_BYTES)
  const stanzas = recipients.map((recipient) => wrapped(fileKey, recipient)).join('')
  const authenticated = `${VERSION}\n${stanzas}---`
  const nonce = randomBytes(NONCE_BYTES)
  const text = `${authenticated} ${base64nopad.encode(macOf(fileKey, authenticated))}\n`
  const made = { bytes: Buffer.concat([Buffer.from(text), nonce]), payloadKey: payloadKeyOf(fileKey, nonce) }
  fileKey.fill(0)
  return made
}

/**
 * @param bytes the beginning of a file
 * @returns the key of its chunks and where they begin; undefined when the header goes on behind `bytes`
 * @throws corrupt when it is no header, or was changed; refused when none of the identities opens it
 */
export function openHeader(
  bytes: Buffer,
  identities: readonly Identity[],
): { readonly payloadKey: Buffer; readonly length: number } | undefined {
  const header = parseHeader(bytes)
  if (header === undefined) return undefined
  const fileKey = fileKeyOf(header.stanzas, identities)
  if (!timingSafeEqual(macOf(fileKey, header.authenticated), header.mac)) throw damaged('its header was changed')
  const end = header.length + NONCE_BYTES
  if (bytes.length < end) return undefined
  return { payloadKey: payloadKeyOf(fileKey, bytes.subarray(header.length, end)), length: end }
}

export function damaged(how: string, cause?: unknown): FleetError {
  return new FleetError('corrupt', `an encrypted file is damaged: ${how}`, { cause })
}

function wrapped(fileKey: Buffer, recipient: Buffer): string {
  const { privateKey, publicKey: share } = newBoxKeys()
  const key = wrapKeyOf(agreedSecret(privateKey, recipient), share, recipient)
  const body = Buffer.alloc(FILE_KEY_BYTES + TAG_BYTES)
  sealInto(body, { key, nonce: NEVER_REPEATED, bytes: fileKey })
  return `-> ${X25519} ${base64nopad.encode(share)}\n${base64nopad.encode(body)}\n`
}

function fileKeyOf(stanzas: readonly Stanza[], identities: readonly Identity[]): Buffer {
  // Whoever knows a password could have made the file: it may not stand beside a key.
  if (stanzas.length > 1 && stanzas.some(({ kind }) => kind === 'scrypt')) throw damaged('its header cannot be read')
  for (const { kind, args, body } of stanzas) {
    if (kind !== X25519) continue
    const share = args.length === 1 ? decoded(args[0] ?? '') : undefined
    if (share?.length !== KEY_BYTES || body.length !== FILE_KEY_BYTES + TAG_BYTES)
      throw damaged('its header cannot be read')
    for (const identity of identities) {
      const key = wrapKeyOf(agreed(identity, share), share, identity.publicKey)
      const fileKey = Buffer.alloc(FILE_KEY_BYTES)
      if (openInto(fileKey, { key, nonce: NEVER_REPEATED, bytes: body })) return fileKey
    }
  }
  const message =
    identities.length === 0
      ? 'it is encrypted: reading it needs the identity that belongs to its recipient'
      : 'it is encrypted for others: none of the given identities opens it'
  throw new FleetError('refused', message)
}

function agreed({ privateKey }: Identity, share: Buffer): Buffer {
  try {
    return agreedSecret(privateKey, share)
  } catch (cause) {
    throw damaged('its header cannot be read', cause)
  }
}

/** @returns undefined when `bytes` end before the header does. @throws corrupt */
function parseHeader(bytes: Buffer) {
  const text = bytes.toString('latin1', 0, MAX_HEADER_BYTES)
  let at = 0
  const line = (): string | undefined => {
    const end = text.indexOf('\n', at)
    if (end < 0) return undefined
    const found = text.slice(at, end)
    at = end + 1
    return found
  }
  const version = line()
  if (version !== undefined && version !== VERSION) throw damaged('it is not of the version of age that is known')
  const stanzas: Stanza[] = []
  for (let first = version === undefined ? undefined : line(); first !== undefined; first = line()) {
    if (first.startsWith('---')) {
      const mac = first.startsWith('--- ') ? decoded(first.slice(4)) : undefined
      if (mac?.length !== KEY_BYTES || stanzas.length === 0) throw damaged('its header cannot be read')
      const authenticated = text.slice(0, at - first.length - 1 + 3)
      return { stanzas, mac, authenticated, length: at }
    }
    const stanza = readStanza(first, line)
    if (stanza === undefined) break
    stanzas.push(stanza)
  }
  if (text.length === MAX_HEADER_BYTES) throw damaged('its header has no end')
  return undefined
}

/** @returns undefined when the text ends before the stanza does */
function readStanza(first: string, line: () => string | undefined): Stanza | undefined {
  const [arrow, kind = '', ...args] = first.split(' ')
  if (arrow !== '->' || ![kind, ...args].every((word) => /^[\x21-\x7e]+$/.test(word)))
    throw damaged('its header cannot be read')
  let body = ''
  for (let next = line(); next !== undefined; next = line()) {
    if (next.length > BODY_COLUMNS) break
    body += next
    if (next.length === BODY_COLUMNS) continue
    const bytes = decoded(body)
    if (bytes === undefined) throw damaged('its header cannot be read')
    return { kind, args, body: bytes }
  }
  return undefined
}

/** @returns undefined for anything but the one way to write these bytes */
function decoded(text: string): Buffer | undefined {
  try {
    return Buffer.from(base64nopad.decode(text))
  } catch {
    return undefined
  }
}

function wrapKeyOf(secret: Buffer, share: Buffer, recipient: Buffer): Buffer {
  return derived(secret, Buffer.concat([share, recipient]), WRAP_CONTEXT)
}

function macOf(fileKey: Buffer, authenticated: string): Buffer {
  return createHmac('sha256', derived(fileKey, Buffer.alloc(0), 'header'))
    .update(authenticated, 'latin1')
    .digest()
}

function payloadKeyOf(fileKey: Buffer, nonce: Buffer): Buffer {
  return derived(fileKey, nonce, 'payload')
}

function derived(secret: Buffer, salt: Buffer, context: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, salt, context, KEY_BYTES))
}
