import { setTimeout as delay } from 'node:timers/promises'
import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/logger.ts'
import type { Caller } from '../core/caller.ts'
import type { Fingerprints, IdempotencyKeys, KeptAnswer, KeyHold } from '../core/idempotency.ts'
import { answerFailure, answerThrown } from './failure.ts'
import { identify } from './idempotency-key.ts'
import { type Answer, type Dialect, type Route, WireError } from './route.ts'

/** A third of what a hold lasts. */
const RENEW_MS = 1_500
/** Longer than any route waits for its work. */
const WAIT_MS = 40_000
const POLL_FIRST_MS = 25
const POLL_MAX_MS = 250

/** Refusals that say nothing about the request itself: the next try may fare better. */
const NOT_KEPT: ReadonlySet<number> = new Set([401, 403, 429, 503])
/** What repeats get beside status, body and ETag. A cookie is a secret. */
const KEPT_HEADERS: ReadonlySet<string> = new Set(['x-job-id', 'location'])

interface KeyedRequest {
  readonly key: string
  readonly caller: Caller
  readonly dialect: Dialect
  readonly route: Route
  readonly path: string
  readonly query: unknown
  readonly body: unknown
  readonly signal: AbortSignal
}

/** Whether the answer is the last word: the work has ended, and not by a bug of ours. */
function isFinal(status: number, thrown: unknown): boolean {
  if (NOT_KEPT.has(status)) return false
  if (thrown === undefined) return true
  if (thrown instanceof WireError) return !(thrown.cause instanceof FleetError && thrown.cause.code === 'timeout')
  return thrown instanceof FleetError && thrown.code !== 'timeout' && thrown.code !== 'internal'
}

function kept({ status, headers = {}, etag, body }: Answer, { withoutSecrets }: Route): KeptAnswer {
  const shown = Object.entries(headers).filter(([name]) => KEPT_HEADERS.has(name.toLowerCase()))
  const safe = withoutSecrets && body !== undefined && status < 300 ? withoutSecrets(body) : body
  // A hash of the whole body would not be that of the body without its secrets.
  return { status, headers: Object.fromEntries(shown), body: safe, ...(etag === undefined ? {} : { etag }) }
}

/** The first answer again. Failures are thrown, as they were. */
function replayed(answer: KeptAnswer): Answer {
  const { status, body, etag } = answer
  const headers = { ...answer.headers, 'Idempotent-Replayed': 'true' }
  if (status >= 400) throw new WireError(status, body, { headers })
  return { status, headers, ...(body === undefined ? {} : { body }), ...(etag === undefined ? {} : { etag }) }
}

/** Makes requests that carry an `Idempotency-Key` happen once, over all replicas. */
export function createIdempotency(deps: {
  readonly keys: IdempotencyKeys
  /** What is kept of a request, to tell another one from it. */
  readonly fingerprints: (asked: Buffer) => Fingerprints
  readonly logger: Logger
}) {
  const { keys, logger } = deps
  const holders = new Set<string>()
  let timer: NodeJS.Timeout | undefined

  function renew(): void {
    keys.renew([...holders]).catch((error: unknown) => {
      logger.warn({ event: 'idempotency.unrenewed', holders: holders.size, error: String(error) })
    })
  }

  function keepHeld(holder: string): () => void {
    holders.add(holder)
    timer ??= setInterval(renew, RENEW_MS).unref()
    return () => {
      holders.delete(holder)
      if (holders.size > 0) return
      clearInterval(timer)
      timer = undefined
    }
  }

  /** Holds the key, or gives the first answer once there is one. @throws what the first request was refused with; busy. */
  async function acquire(request: KeyedRequest): Promise<KeyHold | Answer> {
    const { caller, dialect, route, signal } = request
    const { hash, asked } = identify({ ...request, method: route.method })
    const key = { hash, fingerprints: deps.fingerprints(asked) }
    const holder = newId()
    const deadline = performance.now() + WAIT_MS
    for (let pause = POLL_FIRST_MS; performance.now() < deadline; pause = Math.min(pause * 2, POLL_MAX_MS)) {
      const held = await keys.hold(key, holder)
      if (held.state === 'held') {
        let placed = 0
        return { hash, holder, next: () => placed++ }
      }
      if (held.state === 'answered') return replayed(held.answer)
      if (held.state === 'different') {
        const message = 'Idempotency-Key: was used for another request already'
        const { status, body } = answerFailure(dialect, { code: 'key_reused', message, field: 'Idempotency-Key' })
        throw new WireError(status, body)
      }
      await delay(pause, undefined, { signal })
    }
    logger.warn({ event: 'idempotency.waited', subject: caller.subject, operation: route.operation })
    throw new FleetError('busy', 'the first request with this Idempotency-Key has not been answered yet')
  }

  /** The work is done or not, whatever becomes of this: without a word, a repeat finds what was placed. */
  async function settle(hold: KeyHold, answer: KeptAnswer | undefined): Promise<void> {
    try {
      await (answer === undefined ? keys.release(hold) : keys.answer(hold, answer))
    } catch (error) {
      logger.warn({ event: 'idempotency.unsettled', error: String(error) })
    }
  }

  return {
    /** What `handle` answers for `caller`, or answered the first time. @throws what it throws. */
    async once(request: KeyedRequest, handle: (caller: Caller) => Promise<Answer>): Promise<Answer> {
      const { dialect, route } = request
      const acquired = await acquire(request)
      if ('status' in acquired) return acquired
      const stop = keepHeld(acquired.holder)
      try {
        const answer = await handle({ ...request.caller, key: acquired })
        await settle(acquired, isFinal(answer.status, undefined) ? kept(answer, route) : undefined)
        return answer
      } catch (thrown) {
        const answer = answerThrown(dialect, thrown)
        await settle(acquired, isFinal(answer.status, thrown) ? kept(answer, route) : undefined)
        throw thrown
      } finally {
        stop()
      }
    },
  }
}

export type Idempotency = ReturnType<typeof createIdempotency>
