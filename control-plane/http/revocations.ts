import type { X509Certificate } from 'node:crypto'

/**
 * Which certificates a revocation list names. Handshakes are refused by OpenSSL, which checks the list's signature and
 * dates; this is for connections that were open before the list said so.
 *
 * DER (X.690), no more of it than RFC 5280 needs here: definite lengths, tags of one byte.
 */

interface Element {
  readonly tag: number
  readonly content: Buffer
}

const INTEGER = 0x02
const SEQUENCE = 0x30
const LONG_FORM = 0x80
/** Of a length; more would not be a file that anybody keeps. */
const LENGTH_BYTES_MAX = 4

/** The elements that stand one after another. @throws RangeError for bytes that are none. */
function elementsOf(bytes: Buffer): readonly Element[] {
  const found: Element[] = []
  for (let at = 0; at < bytes.length; ) {
    const first = bytes.readUInt8(at + 1)
    const lengthBytes = first < LONG_FORM ? 0 : first - LONG_FORM
    if (lengthBytes > LENGTH_BYTES_MAX) throw new RangeError('a length that is too long')
    const length = lengthBytes === 0 ? first : bytes.readUIntBE(at + 2, lengthBytes)
    const start = at + 2 + lengthBytes
    const end = start + length
    if (end > bytes.length) throw new RangeError('an element that ends too late')
    found.push({ tag: bytes.readUInt8(at), content: bytes.subarray(start, end) })
    at = end
  }
  return found
}

/** Of a certificate's serial number: as `X509Certificate` writes it, without leading zeros. */
function serialKey(hex: string): string {
  return hex.toUpperCase().replace(/^0+/, '')
}

/** A list is what is signed, and its signature. What is signed: version (optional), algorithm, issuer, one or two times, entries (if any), … */
function serialsOf(der: Buffer): readonly string[] {
  const [list] = elementsOf(der)
  const [signed] = elementsOf(list?.content ?? Buffer.alloc(0))
  const sequences = elementsOf(signed?.content ?? Buffer.alloc(0)).filter(({ tag }) => tag === SEQUENCE)
  const entries = sequences[2]?.content ?? Buffer.alloc(0)
  return elementsOf(entries).flatMap(({ content }) => {
    const [serial] = elementsOf(content)
    return serial?.tag === INTEGER ? [serialKey(serial.content.toString('hex'))] : []
  })
}

const BLOCK = /-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]+)-----END X509 CRL-----/g

/** The lists of a PEM file, each by itself: OpenSSL is given them one by one. @throws Error when there is none. */
export function listsOf(pem: string): readonly string[] {
  const found = [...pem.matchAll(BLOCK)].map(([block]) => block)
  if (found.length === 0) throw new Error('there is no X509 CRL in PEM form')
  return found
}

/** By serial number alone: one of another authority is only asked to connect anew. @throws RangeError for what is no list. */
export function createRevocations(
  lists: readonly string[],
): (certificate: Pick<X509Certificate, 'serialNumber'>) => boolean {
  const ders = lists.map((list) => Buffer.from(list.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64'))
  const revoked = new Set(ders.flatMap(serialsOf))
  return ({ serialNumber }) => revoked.has(serialKey(serialNumber))
}
