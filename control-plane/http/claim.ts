import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import { FleetError } from '../../shared/errors.ts'
import { type Shown, shownSecret } from '../core/credentials.ts'
import { sessionSecretOf } from '../core/sessions.ts'
import type { ClientCertificate } from './certificate.ts'
import { splitTarget } from './request-target.ts'

/** What a request says of who asks: to be believed only once it is looked up. */
export interface Claim {
  readonly shown: Shown
  /** The group it wants to act for. */
  readonly group: string | undefined
}

/** Browsers cannot set headers on a WebSocket; they can name subprotocols. Never a query string: those are logged. */
const TOKEN_PROTOCOL = 'holdfast.token.'
const GROUP_PROTOCOL = 'holdfast.group.'
const GROUP_HEADER = 'x-holdfast-group'
/** Clients of the block API name the group in the path. */
const PROJECT = /^\/v3\/([^/]+)\/./

const BEARER = /^Bearer +(\S+) *$/i
/** Ours have 43 characters; `npm start` and operators may choose longer ones. */
const SECRET_MAX_LENGTH = 512
const GROUP_MAX_LENGTH = 256

/** Node reads headers as Latin-1; names beyond ASCII are sent as UTF-8, by some clients as Latin-1. */
export function headerText(value: string): string {
  const bytes = Buffer.from(value, 'latin1')
  return isUtf8(bytes) ? bytes.toString('utf8') : value
}

function protocolOf({ headers }: IncomingMessage, prefix: string): string | undefined {
  const protocols = headers['sec-websocket-protocol']?.split(',').map((protocol) => protocol.trim())
  return protocols?.find((protocol) => protocol.startsWith(prefix))?.slice(prefix.length)
}

/** The token a request shows, `''` for an Authorization header that holds none of ours, undefined for none. */
function tokenOf(request: IncomingMessage): string | undefined {
  const { authorization, 'x-auth-token': token } = request.headers
  if (authorization !== undefined) return BEARER.exec(authorization)?.[1] ?? ''
  return token === undefined ? protocolOf(request, TOKEN_PROTOCOL) : String(token)
}

function projectOf({ url }: IncomingMessage): string | undefined {
  const named = PROJECT.exec(splitTarget(url).path)?.[1]
  try {
    const name = named === undefined ? undefined : decodeURIComponent(named)
    // Postgres takes no NUL, and nobody is called so.
    return name?.includes('\0') ? named : name
  } catch {
    return named
  }
}

/**
 * What clients of the block API send where they are told that nobody asks who they are: `<user>:<project>` as a token, with the project in
 * the path. It claims nothing, so that a network that is trusted without it is trusted with it.
 */
function claimsNothing({ headers }: IncomingMessage, project: string | undefined): boolean {
  const { authorization, 'x-auth-token': token } = headers
  if (authorization !== undefined || project === undefined) return false
  return /^[^:]+:[^:]+$/.test(String(token ?? '')) && String(token).endsWith(`:${project}`)
}

function unknown(): FleetError {
  return new FleetError('unauthorized', 'the credentials are not known')
}

function secret(kind: 'token' | 'session', text: string): Shown {
  if (text === '' || text.length > SECRET_MAX_LENGTH) throw unknown()
  return shownSecret(kind, text)
}

/**
 * The first that is shown decides, and must hold: token, cookie, certificate. No other excuses it.
 * @throws unauthorized.
 */
function shownBy(request: IncomingMessage, certificateOf: ClaimSources['certificateOf']): Shown | undefined {
  const token = tokenOf(request)
  if (token !== undefined) return secret('token', token)
  const session = sessionSecretOf(request.headers.cookie)
  if (session) return secret('session', session)
  const certificate = certificateOf(request)
  if (certificate === 'bad') throw unknown()
  return certificate
}

/** What is not in the request itself. */
export interface ClaimSources {
  readonly certificateOf: (request: IncomingMessage) => ClientCertificate
  readonly networkOf: (request: IncomingMessage) => Shown | undefined
}

/** @throws unauthorized without a credential, or with one that cannot be. */
export function claimOf(request: IncomingMessage, { certificateOf, networkOf }: ClaimSources): Claim {
  const project = projectOf(request)
  const trusted = claimsNothing(request, project) ? networkOf(request) : undefined
  const shown = trusted ?? shownBy(request, certificateOf) ?? networkOf(request)
  if (shown === undefined) throw new FleetError('unauthorized', 'credentials are required')
  const header = request.headers[GROUP_HEADER]
  const group = project ?? (header === undefined ? protocolOf(request, GROUP_PROTOCOL) : headerText(String(header)))
  return { shown, group: group?.slice(0, GROUP_MAX_LENGTH) }
}
