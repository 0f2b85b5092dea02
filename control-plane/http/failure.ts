import { FleetError, toFleetError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import { type Answer, type Dialect, type Failure, WireError } from './route.ts'

/** How long a client may wait before it asks a full or waking fleet again. */
const RETRY_AFTER_S = 2

/** Headers that a failure's status demands in every dialect. */
const STATUS_HEADERS: Readonly<Record<number, Readonly<Record<string, string>>>> = {
  401: { 'WWW-Authenticate': 'Bearer' },
  503: { 'Retry-After': String(RETRY_AFTER_S) },
}

/** A failure in its dialect's words. */
export function answerFailure(dialect: Dialect, failure: Failure, headers: Answer['headers'] = {}): Answer {
  const status = dialect.statuses[failure.code]
  return { status, body: dialect.errorBody(failure), headers: { ...STATUS_HEADERS[status], ...headers } }
}

/** Anything thrown, in its dialect's words; what is not operational loses its text. */
export function answerThrown(dialect: Dialect, thrown: unknown): Answer {
  if (thrown instanceof WireError) {
    return { ...thrown, headers: { ...STATUS_HEADERS[thrown.status], ...thrown.headers } }
  }
  return answerFailure(dialect, toFleetError(thrown))
}

/** The client left while its request waited: nobody reads the answer, and nothing is broken. */
function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError'
}

/** Tells operators what the client was not told. Bugs with their stack; operational failures only with their detail. */
export function logThrown(logger: Logger, requestId: string, thrown: unknown): void {
  const error = thrown instanceof WireError ? thrown.cause : thrown
  if (error === undefined || isAbort(error)) return
  if (!(error instanceof FleetError)) return void logger.error({ event: 'request.bug', requestId, err: error })
  const { code, detail, cause } = error
  if (code === 'internal' || detail !== undefined) {
    logger.warn({ event: 'request.failure', requestId, code, detail, err: cause })
  }
}
