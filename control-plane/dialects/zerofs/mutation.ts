import { type ErrorCode, FleetError } from '../../../shared/errors.ts'
import type { Core } from '../../core/core.ts'
import type { Accepted } from '../../core/datasets.ts'
import { WireError } from '../../http/route.ts'

/** ZeroFS answers only when the work is done; core answers at once. This bounds the wait between the two. */
const SETTLE_TIMEOUT_MS = 30_000

export type MutationCode =
  | 'CREATE_DATASET_FAILED'
  | 'DELETE_DATASET_FAILED'
  | 'CREATE_SNAPSHOT_FAILED'
  | 'DELETE_SNAPSHOT_FAILED'
  | 'INSTANT_RESTORE_FAILED'
  | 'WRITE_DESTINATION_FAILED'
  | 'CLONE_FAILED'

interface Mutation<Order extends Accepted> {
  /** One code for all its failures, or one that depends on the failure. */
  readonly code: MutationCode | ((error: FleetError) => MutationCode)
  /** Puts the order to core. */
  readonly accept: () => Promise<Order>
  readonly signal: AbortSignal
  /** The document's words for an order that core did not accept; undefined keeps core's. */
  readonly explain?: (error: FleetError) => string | undefined
}

export interface Done<Order extends Accepted> {
  readonly order: Order
  readonly result: unknown
  /** To be sent with the answer. */
  readonly headers: { readonly 'X-Job-Id': string }
}

/** Not failures of the operation but of the request or the fleet: these keep their own status and code. */
const OWN_STATUS: ReadonlySet<ErrorCode> = new Set(['unauthorized', 'forbidden', 'stale', 'too_large', 'unavailable'])

/** What stands in the way, unless the message names it already. */
function blockersOf({ blockers = [], message }: FleetError): string {
  const named = blockers.every((blocker) => message.includes(`'${blocker}'`))
  return named ? '' : ` (blocked by ${blockers.join(', ')})`
}

/** A job's failure is always the operation's: its `invalid` is about what the agent found, not about the request. */
function failed({ code, explain }: Mutation<Accepted>, error: FleetError, jobId: string | undefined): Error {
  const headers = jobId === undefined ? {} : { 'X-Job-Id': jobId }
  if (error.code === 'unavailable') {
    return new WireError(503, { error: 'RPC_CONNECTION_FAILED', message: error.message }, { headers, cause: error })
  }
  const goesOn =
    error.code === 'timeout' && jobId !== undefined ? `; job ${jobId} goes on, see GET /api/v1/jobs/${jobId}` : ''
  const message = `${(jobId === undefined ? explain?.(error) : undefined) ?? error.message}${blockersOf(error)}${goesOn}`
  const body = { error: typeof code === 'string' ? code : code(error), message }
  return new WireError(500, body, { headers, cause: error })
}

/**
 * Orders a mutation and waits for its end. Every failure of the operation leaves as 500 with its code, as the document
 * has it; a request that cannot be meant stays 400, an offline host 503.
 */
export async function mutate<Order extends Accepted>(mutation: Mutation<Order>, core: Core): Promise<Done<Order>> {
  let jobId: string | undefined
  try {
    const order = await mutation.accept()
    jobId = order.jobId
    const result = await core.jobs.settled(jobId, { timeoutMs: SETTLE_TIMEOUT_MS, signal: mutation.signal })
    return { order, result, headers: { 'X-Job-Id': jobId } }
  } catch (thrown) {
    if (!(thrown instanceof FleetError)) throw thrown
    const ownStatus = OWN_STATUS.has(thrown.code) || thrown.code === 'invalid'
    if (jobId === undefined && ownStatus) throw thrown
    throw failed(mutation, thrown, jobId)
  }
}

/** Words for the one failure that the document words: an unknown name. */
export function whenAbsent(sentence: string): (error: FleetError) => string | undefined {
  return (error) => (error.code === 'not_found' ? sentence : undefined)
}
