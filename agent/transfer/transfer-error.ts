import { type ErrorCode, FleetError } from '../../shared/errors.ts'
import { asFleetError, errorCodeOf } from '../native/system-error.ts'

/** What sockets, name servers and TLS report. Anything absent is no failure of the network. */
const MEANINGS: Readonly<Record<string, readonly [code: ErrorCode, message: string]>> = {
  ECONNREFUSED: ['unavailable', 'refuses connections'],
  ECONNRESET: ['unavailable', 'cut the connection'],
  ECONNABORTED: ['unavailable', 'cut the connection'],
  EPIPE: ['unavailable', 'cut the connection'],
  ERR_STREAM_PREMATURE_CLOSE: ['unavailable', 'cut the connection'],
  ERR_STREAM_DESTROYED: ['unavailable', 'cut the connection'],
  EHOSTUNREACH: ['unavailable', 'cannot be reached'],
  ENETUNREACH: ['unavailable', 'cannot be reached'],
  EHOSTDOWN: ['unavailable', 'cannot be reached'],
  ENOTFOUND: ['unavailable', 'has a name that cannot be resolved'],
  EAI_AGAIN: ['unavailable', 'has a name that cannot be resolved'],
  ENODATA: ['unavailable', 'has a name that cannot be resolved'],
  ETIMEDOUT: ['timeout', 'did not answer in time'],
  CERT_HAS_EXPIRED: ['refused', 'has a certificate that has expired'],
  CERT_NOT_YET_VALID: ['refused', 'has a certificate that is not valid yet'],
  DEPTH_ZERO_SELF_SIGNED_CERT: ['refused', 'has a certificate that is not trusted'],
  SELF_SIGNED_CERT_IN_CHAIN: ['refused', 'has a certificate that is not trusted'],
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: ['refused', 'has a certificate that is not trusted'],
  UNABLE_TO_GET_ISSUER_CERT: ['refused', 'has a certificate that is not trusted'],
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: ['refused', 'has a certificate that is not trusted'],
  ERR_TLS_CERT_ALTNAME_INVALID: ['refused', 'has a certificate for another name'],
}

/** The subject of every message: it may be read by a client, so it names the target as its owner did. */
export function subjectOf(name: string): string {
  return `target '${name}'`
}

/**
 * What was thrown while a target was used, naming it. A FleetError keeps its code and gains the name; what is neither that nor
 * known is a bug and passes unchanged.
 */
export function asTransferError(thrown: unknown, name: string): unknown {
  if (thrown instanceof FleetError) return named(thrown, name)
  const code = errorCodeOf(thrown)
  const meaning = code === undefined ? undefined : (MEANINGS[code] ?? protocolMeaning(code))
  if (meaning !== undefined)
    return new FleetError(meaning[0], `${subjectOf(name)} ${meaning[1]}`, { cause: thrown, detail: String(thrown) })
  return asFleetError(thrown, subjectOf(name))
}

function protocolMeaning(code: string): readonly [ErrorCode, string] | undefined {
  if (code.startsWith('HPE_')) return ['unavailable', 'does not speak HTTP']
  if (code.startsWith('ERR_SSL_') || code === 'EPROTO') return ['refused', 'does not speak TLS as it should']
  return undefined
}

function named(error: FleetError, name: string): FleetError {
  const subject = subjectOf(name)
  if (error.message.startsWith(subject) || error.code === 'cancelled') return error
  const extras = {
    ...(error.field === undefined ? {} : { field: error.field }),
    ...(error.detail === undefined ? {} : { detail: error.detail }),
    cause: error,
  }
  return new FleetError(error.code, `${subject}: ${error.message}`, extras)
}
