import { FleetError } from '../../shared/errors.ts'
import { type AuditEntry, anonymous } from '../core/audit.ts'
import type { Caller, RequestMark } from '../core/caller.ts'
import { WireError } from './route.ts'

/** What the audit must know of a request that a route took, filled in on its way. */
export interface AuditTrail {
  /** As the document names it: `createDataset`. */
  readonly operation: string
  readonly mark: RequestMark
  /** Null until the credentials have held, and on public routes. */
  caller: Caller | null
}

interface Ended {
  readonly dialect: string
  readonly trail: AuditTrail
  readonly status: number
  readonly thrown: unknown
}

const TOO_MANY = 429

/** Something was tried before these; before all others nothing has happened. */
const TRIED: ReadonlySet<AuditEntry['code']> = new Set(['internal', 'timeout', 'corrupt', 'no_space', 'cancelled'])

/**
 * The audit's row for an answer that refused something, named by its route because core may never have been reached. Of reads
 * only those that were denied. Undefined for everything else: what succeeded has written its own row, with what it did.
 */
export function refusalOf({ dialect, trail, status, thrown }: Ended): AuditEntry | undefined {
  const { operation, mark, caller } = trail
  if (status < 400 || isAccepted(thrown)) return undefined
  const reads = mark.method === 'GET' || mark.method === 'HEAD'
  if (reads && status !== 401 && status !== 403) return undefined
  const code = codeOf(thrown, status)
  return {
    by: caller ?? anonymous(mark),
    operation: `${dialect}.${operation}`,
    result: TRIED.has(code) ? 'failed' : 'refused',
    code,
    detail: { status },
  }
}

/** The order stands, and how its job ended is told by the job's own row. */
function isAccepted(thrown: unknown): boolean {
  return thrown instanceof WireError && 'X-Job-Id' in thrown.headers
}

function codeOf(thrown: unknown, status: number): AuditEntry['code'] {
  const error = thrown instanceof WireError ? thrown.cause : thrown
  if (error instanceof FleetError) return error.code
  if (status === TOO_MANY) return 'too_many'
  return status >= 500 ? 'internal' : undefined
}
