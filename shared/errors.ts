/**
 * The closed set of operational failures. Core and agents speak these; only a dialect turns one into a status number.
 *
 * - `invalid`      the request cannot be meant; `field` names what is wrong
 * - `unauthorized` no credentials, or none that are known; `forbidden` known, without the right
 * - `not_found`    the named thing is absent (or belongs to somebody else)
 * - `exists`       a thing of that name is there already
 * - `conflict`     the thing is in a state, or has dependants, that forbid it; `blockers` names them
 * - `stale`        an If-Match that no longer matches
 * - `busy`         try again: a bound was reached
 * - `unavailable`  a host, Postgres or NATS cannot be reached; nothing was accepted
 * - `timeout`      the wait ended before the work did; the work goes on
 * - `no_space`     the pool or the file system is full
 * - `refused`      the host's own policy forbids it (a path that is not allowed, a link that leads out)
 * - `too_large`    the body is over its limit
 * - `expired`      the point asked for is no longer kept
 * - `cancelled`    somebody asked for it to stop
 * - `corrupt`      data does not match its recorded hash
 * - `internal`     a bug or an unrecognised failure of a tool
 */
export const ERROR_CODES = [
  'invalid',
  'unauthorized',
  'forbidden',
  'not_found',
  'exists',
  'conflict',
  'stale',
  'busy',
  'unavailable',
  'timeout',
  'no_space',
  'refused',
  'too_large',
  'expired',
  'cancelled',
  'corrupt',
  'internal',
] as const

export type ErrorCode = (typeof ERROR_CODES)[number]

export interface FleetErrorExtras {
  /** The request field at fault, as the client spelled it. */
  readonly field?: string
  /** Every field at fault, as the client spelled it, and why: for `invalid`. */
  readonly issues?: Readonly<Record<string, string>>
  /** What stands in the way, by name, for `conflict`. */
  readonly blockers?: readonly string[]
  /** Paths of damaged files, for `corrupt`. */
  readonly members?: readonly string[]
  /** Ids of the points in whose archives they lie. */
  readonly points?: readonly string[]
  /** Of a job: not all that it had done could be taken back. */
  readonly left?: boolean
  /** For operators' logs only: a tool's output, a path. Never sent to a client. */
  readonly detail?: string
  readonly cause?: unknown
}

/** An operational failure. `message` may be read by a client: no host path, SQL or command line in it. */
export class FleetError extends Error {
  override readonly name = 'FleetError'
  readonly code: ErrorCode
  readonly field: string | undefined
  readonly issues: Readonly<Record<string, string>> | undefined
  readonly blockers: readonly string[] | undefined
  readonly members: readonly string[] | undefined
  readonly points: readonly string[] | undefined
  readonly left: boolean | undefined
  readonly detail: string | undefined

  constructor(code: ErrorCode, message: string, extras: FleetErrorExtras = {}) {
    super(message, extras.cause === undefined ? undefined : { cause: extras.cause })
    this.code = code
    this.field = extras.field
    this.issues = extras.issues
    this.blockers = extras.blockers
    this.members = extras.members
    this.points = extras.points
    this.left = extras.left
    this.detail = extras.detail
  }
}

/** What a thrown value means to a client: a FleetError as it is, anything else `internal` without its text. */
export function toFleetError(thrown: unknown): FleetError {
  if (thrown instanceof FleetError) return thrown
  return new FleetError('internal', 'internal error', { cause: thrown })
}
