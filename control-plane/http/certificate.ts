import type { X509Certificate } from 'node:crypto'
import { hash } from 'node:crypto'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Shown } from '../core/credentials.ts'

/** What a connection's client certificate is: `bad` when our authority did not sign it, or it is out of date. */
export type ClientCertificate = Shown | 'bad' | undefined

interface Read {
  readonly shown: Shown
  readonly untilMs: number
}

/** One name of a SAN extension as Node prints it; values that hold a comma or a quote are JSON strings. */
const NAME = /(DNS|email|URI|IP Address|DirName|Registered ID|othername):("(?:[^"\\]|\\.)*"|[^,"]*)(?:, |$)/gy

const KINDS: Readonly<Record<string, string>> = { DNS: 'dns', email: 'email', URI: 'uri' }

/** Names that could not be told apart from their neighbours are no names: then there are none. */
function alternativeNames(text: string): readonly string[] {
  const found = [...text.matchAll(NAME)]
  if (found.map(([all]) => all).join('') !== text) return []
  return found.flatMap(([, kind = '', value = '']) => {
    const known = KINDS[kind]
    if (known === undefined || value === '') return []
    return [`${known}:${value.startsWith('"') ? String(JSON.parse(value)) : value}`]
  })
}

/**
 * Everything a certificate calls its bearer, as `user_certificate` spells it: `subject:CN=alice,O=example` as
 * `openssl x509 -subject -nameopt RFC2253` prints it, `email:…`, `dns:…`, `uri:…`.
 */
export function namesOf({ subject, subjectAltName }: Pick<X509Certificate, 'subject' | 'subjectAltName'>): string[] {
  const parts = subject === undefined || subject === '' ? [] : subject.split('\n').toReversed()
  return [
    ...(parts.length > 0 ? [`subject:${parts.join(',')}`] : []),
    ...(subjectAltName === undefined ? [] : alternativeNames(subjectAltName)),
  ]
}

/** Verified already. `sha256:…` is what `openssl x509 -fingerprint -sha256` prints, in lower case without colons. */
export function shownCertificate(certificate: X509Certificate): Shown {
  const id = hash('sha256', certificate.raw, 'hex')
  return { kind: 'certificate', id, names: [...namesOf(certificate), `sha256:${id}`] }
}

function read(socket: TLSSocket): Read | 'bad' | undefined {
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) return undefined
  if (!socket.authorized) return 'bad'
  return { shown: shownCertificate(certificate), untilMs: Date.parse(certificate.validTo) }
}

/** Read once a connection: it cannot show another one later (TLS 1.2 renegotiation is off). */
const known = new WeakMap<Socket, Read | 'bad' | undefined>()

export function certificateOf(socket: Socket): ClientCertificate {
  if (!(socket instanceof TLSSocket)) return undefined
  if (!known.has(socket)) known.set(socket, read(socket))
  const found = known.get(socket)
  if (found === undefined || found === 'bad') return found
  return found.untilMs > Date.now() ? found.shown : 'bad'
}
