import { hash, X509Certificate } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Shown } from '../core/credentials.ts'
import { shownCertificate } from './certificate.ts'
import { headerText } from './claim.ts'
import { createAddressSet, plainAddress } from './networks.ts'

/** Which reverse proxies say, in which header, whose certificate they have verified. */
export interface CertificateHeader {
  readonly name: string
  /** A header that must say `SUCCESS` beside it: for proxies that pass on certificates that they did not verify too. */
  readonly verified?: string | undefined
  /** Their networks. From everywhere else the headers are taken away unread. */
  readonly proxies: readonly string[]
}

type Proxied = Shown | 'bad' | undefined

/** What proxies write where there is no certificate: nothing, or Apache's word for it. */
const NOTHING: ReadonlySet<string> = new Set(['', '(null)', '-'])
/** As `openssl x509 -nameopt RFC2253` prints a subject; nginx' `$ssl_client_s_dn` and Apache's `SSL_CLIENT_S_DN` do too. */
const SUBJECT = /^[A-Za-z][A-Za-z0-9.-]*=/
const SUBJECT_MAX = 490
/** RFC 9440: a certificate's bytes in base64 between colons. */
const BYTES = /^:([A-Za-z0-9+/]+={0,2}):$/
/** nginx' `$ssl_client_escaped_cert`. */
const ESCAPED = /^-----BEGIN(%20| )CERTIFICATE-----/

/** @throws Error for what is no certificate. */
function certificateOf(value: string): X509Certificate | undefined {
  const [, bytes] = BYTES.exec(value) ?? []
  if (bytes !== undefined) return new X509Certificate(Buffer.from(bytes, 'base64'))
  return ESCAPED.test(value) ? new X509Certificate(decodeURIComponent(value)) : undefined
}

/** `bad` for what cannot be read, and for a certificate out of its dates. */
export function readProxied(value: string): Proxied {
  if (NOTHING.has(value)) return undefined
  let certificate: X509Certificate | undefined
  try {
    certificate = certificateOf(value)
  } catch {
    return 'bad'
  }
  if (certificate === undefined) {
    const subject = headerText(value)
    if (!SUBJECT.test(subject) || subject.length > SUBJECT_MAX) return 'bad'
    const names = [`subject:${subject}`]
    return { kind: 'certificate', id: hash('sha256', names.join(), 'hex'), names }
  }
  const now = Date.now()
  if (certificate.validFromDate.getTime() > now || certificate.validToDate.getTime() < now) return 'bad'
  return shownCertificate(certificate)
}

/** Takes a header's values out of a request, so that nobody behind us reads them. */
function take(request: IncomingMessage, name: string): readonly string[] {
  const wanted = name.toLowerCase()
  const raw = request.rawHeaders
  const values: string[] = []
  for (let at = 0; at < raw.length; at += 2) {
    if (raw[at]?.toLowerCase() !== wanted) continue
    values.push(raw[at + 1] ?? '')
    // Node counts them: the pair stays, empty.
    raw[at + 1] = ''
  }
  if (values.length === 0) return values
  delete request.headers[wanted]
  delete request.headersDistinct[wanted]
  return values
}

export function createProxiedCertificates(header: CertificateHeader | undefined) {
  const isProxy = createAddressSet(header?.proxies ?? [])
  const taken = new WeakMap<IncomingMessage, Proxied>()

  /** Sent twice, one of them by the client, is worth nothing. */
  function read([value, another]: readonly string[], verdicts: readonly string[]): Proxied {
    if (value === undefined) return undefined
    if (another !== undefined) return 'bad'
    const shown = readProxied(value.trim())
    if (header?.verified === undefined || shown === undefined) return shown
    return verdicts.length === 1 && verdicts[0]?.trim() === 'SUCCESS' ? shown : 'bad'
  }

  const isFromProxy = (request: IncomingMessage) => isProxy(plainAddress(request.socket.remoteAddress ?? ''))

  return {
    /** Before anybody else looks at the request. */
    take(request: IncomingMessage): void {
      if (header === undefined) return
      const values = take(request, header.name)
      const verdicts = header.verified === undefined ? [] : take(request, header.verified)
      if (isFromProxy(request)) taken.set(request, read(values, verdicts))
    },
    /** What its proxy said of the client. */
    of: (request: IncomingMessage): Proxied => taken.get(request),
    /** Whose own address and certificate are not the client's. */
    isFromProxy,
  }
}

export type ProxiedCertificates = ReturnType<typeof createProxiedCertificates>
