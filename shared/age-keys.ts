import { bech32 } from '@scure/base'
import { z } from 'zod'
import { isExchangeKey } from './sealed-box.ts'

const RECIPIENT_PREFIX = 'age'
const IDENTITY_PREFIX = 'AGE-SECRET-KEY-'
const KEY_BYTES = 32
/** Keys of other kinds are longer; none is as long as this. */
const MAX_LETTERS = 4_096

/** Why a text is no key; never the text, which may be a private key in the wrong field. */
type Wrong = string
type Read = { readonly key: Buffer } | { readonly wrong: Wrong }

/**
 * Who may read what is encrypted: an X25519 public key as `age-keygen` prints it, `age1…`. The source of the format is
 * age-encryption.org/v1 (C2SP `age.md`).
 */
export const AgeRecipient = keyText(readRecipient)

/** The private key to one: `AGE-SECRET-KEY-1…`. It belongs in no log and no answer. */
export const AgeIdentity = keyText(readIdentity)

/** @returns the 32 bytes of the public key. @throws Error when it is not one; the message is for people */
export function recipientKey(recipient: string): Buffer {
  return keyOf(readRecipient(recipient))
}

/** @returns the 32 bytes of the private key. @throws Error when it is not one; the message does not repeat it */
export function identityKey(identity: string): Buffer {
  return keyOf(readIdentity(identity))
}

function keyText(read: (text: string) => Read) {
  return z
    .string()
    .max(MAX_LETTERS, 'is too long to be a key of age')
    .superRefine((text, context) => {
      const found = read(text)
      if ('wrong' in found) context.addIssue({ code: 'custom', message: found.wrong, input: undefined })
    })
}

function keyOf(read: Read): Buffer {
  if ('wrong' in read) throw new Error(read.wrong)
  return read.key
}

function readRecipient(text: string): Read {
  if (/^age-secret-key-/i.test(text))
    return { wrong: 'is a private key: the public one is asked for, which begins age1' }
  if (!text.startsWith(`${RECIPIENT_PREFIX}1`)) return { wrong: 'must be a public key of age, which begins age1' }
  const found = readBech32(text, RECIPIENT_PREFIX)
  if ('wrong' in found || isExchangeKey(found.key)) return found
  return { wrong: 'is a key that protects nothing' }
}

function readIdentity(text: string): Read {
  if (text.startsWith(`${RECIPIENT_PREFIX}1`))
    return { wrong: 'is a public key: the private one is asked for, which begins AGE-SECRET-KEY-1' }
  if (!text.startsWith(`${IDENTITY_PREFIX}1`))
    return { wrong: 'must be a private key of age, which begins AGE-SECRET-KEY-1' }
  return readBech32(text, IDENTITY_PREFIX)
}

/** The library's own errors repeat the text, so none is passed on. */
function readBech32(text: string, prefix: string): Read {
  const decoded = bech32.decodeUnsafe(text, MAX_LETTERS)
  if (decoded === undefined) return { wrong: 'is mistyped or cut: its check sum does not match' }
  const bytes = bech32.fromWordsUnsafe(decoded.words)
  if (decoded.prefix !== prefix.toLowerCase() || bytes === undefined || bytes.length !== KEY_BYTES)
    return { wrong: 'is a key of another kind: only X25519 keys, as age-keygen makes them, are known here' }
  return { key: Buffer.from(bytes) }
}
