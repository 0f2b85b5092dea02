import { CHUNK_BYTES, nonceOf, openInto, SEALED_CHUNK_BYTES, sealInto, TAG_BYTES } from './age-chunks.ts'
import { damaged, identityOf, MAX_HEADER_BYTES, newHeader, openHeader } from './age-header.ts'
import { identityKey, recipientKey } from './age-keys.ts'

/** Bytes as they come, each piece the reader's own. */
export type Bytes = AsyncIterable<Uint8Array>

/** How every file of age-encryption.org/v1 begins, so that one is known for what it is. */
export const AGE_MAGIC = 'age-encryption.org/v1\n'

/**
 * A whole file of age, read by whoever has the private key of one of the recipients.
 * @param recipients `age1…`, at least one. @throws Error when one is none
 */
export async function* encrypted(source: Bytes, recipients: readonly string[]): AsyncGenerator<Buffer> {
  const { bytes, payloadKey: key } = newHeader(recipients.map(recipientKey))
  yield bytes
  let number = 0
  let held: Buffer = Buffer.alloc(0)
  const seal = (content: Buffer, last: boolean) => {
    const sealed = Buffer.alloc(content.length + TAG_BYTES)
    sealInto(sealed, { key, nonce: nonceOf({ number, last }), bytes: content })
    number += 1
    return sealed
  }
  for await (const piece of source) {
    held = Buffer.concat([held, piece])
    let at = 0
    // A full chunk is held back too: it may be the last.
    for (; held.length - at > CHUNK_BYTES; at += CHUNK_BYTES) yield seal(held.subarray(at, at + CHUNK_BYTES), false)
    held = held.subarray(at)
  }
  yield seal(held, true)
}

/**
 * What was encrypted. Each chunk is proved before it is given on; that nothing is missing at the end is known only at the end.
 * @param identities `AGE-SECRET-KEY-1…`
 * @throws FleetError refused when none of them opens it; corrupt. Error when one is no identity
 */
export async function* decrypted(source: Bytes, identities: readonly string[]): AsyncGenerator<Buffer> {
  const keys = identities.map((identity) => identityOf(identityKey(identity)))
  let held: Buffer = Buffer.alloc(0)
  let key: Buffer | undefined
  let number = 0
  const open = (key: Buffer, sealed: Buffer, last: boolean) => {
    // A last chunk without content is that of an empty file alone.
    if (sealed.length < TAG_BYTES || (sealed.length === TAG_BYTES && number > 0)) throw damaged('it is cut')
    const content = Buffer.alloc(sealed.length - TAG_BYTES)
    if (!openInto(content, { key, nonce: nonceOf({ number, last }), bytes: sealed }))
      throw damaged('it is cut, or was changed')
    number += 1
    return content
  }
  for await (const piece of source) {
    held = Buffer.concat([held, piece])
    if (key === undefined) {
      const header = openHeader(held, keys)
      if (header === undefined) {
        if (held.length > 2 * MAX_HEADER_BYTES) throw damaged('its header has no end')
        continue
      }
      key = header.payloadKey
      held = held.subarray(header.length)
    }
    let at = 0
    for (; held.length - at > SEALED_CHUNK_BYTES; at += SEALED_CHUNK_BYTES)
      yield open(key, held.subarray(at, at + SEALED_CHUNK_BYTES), false)
    held = held.subarray(at)
  }
  if (key === undefined) throw damaged('it is cut')
  yield open(key, held, true)
}
