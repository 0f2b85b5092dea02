import type { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import type { HostRead, READS, ReadAnswerOf } from '../../shared/wire/reads.ts'
import { OpenChains } from './open-chains.ts'
import { diffPoints, pointFiles } from './point-listing.ts'
import type { PointTools } from './point-tools.ts'
import { listTarget } from './target-listing.ts'
import type { Targets } from './targets.ts'

/** Less than anybody waits for the answer. */
const PING_MS = 4_000
const LATE = 'does not answer in time'

export interface Question<Op extends HostRead> {
  readonly id: string
  readonly request: z.infer<(typeof READS)[Op]['request']>
  /** See ReadQuestion. */
  readonly sealed: string | undefined
  /** Aborts when nobody waits for the answer any more. */
  readonly signal: AbortSignal
  /** By the clock of `performance.now()`: what has been found by then is answered. */
  readonly untilMs: number
}

/** Of points and their targets. */
export type PointRead = Extract<HostRead, `point-${string}` | `target-${string}`>

export type Answerers = {
  readonly [Op in PointRead]: (question: Question<Op>) => Promise<ReadAnswerOf<Op>>
}

/** What this host knows of points and targets, for who asks: nothing is changed. */
export function createAnswerers(tools: PointTools, targets: Pick<Targets, 'readHostKey'>): Answerers & AsyncDisposable {
  const chains = new OpenChains(tools)
  return {
    'point-files': (question) => pointFiles(chains, question),
    'point-diff': (question) => diffPoints(chains, question),
    'target-list': (question) => listTarget(tools, question),

    'target-ping': (question) => ping(tools, question),

    'target-host-key': async ({ request, signal }) => ({ hostKey: await targets.readHostKey(request.config, signal) }),

    [Symbol.asyncDispose]: () => chains[Symbol.asyncDispose](),
  }
}

/** Whatever keeps a target from being used is the answer, not a failure. */
async function ping(
  tools: PointTools,
  { id, request, sealed, signal: asked }: Question<'target-ping'>,
): Promise<ReadAnswerOf<'target-ping'>> {
  const signal = AbortSignal.any([asked, AbortSignal.timeout(PING_MS)])
  try {
    await using lease = await tools.lease({ target: request.target, sealed, context: `read/${id}` })
    await lease.target.ping({ signal })
    const free = await lease.target.free({ signal }).catch(() => undefined)
    return { alive: true, reason: null, freeBytes: free?.freeBytes ?? null }
  } catch (error) {
    if (!(error instanceof FleetError) && !signal.aborted) throw error
    const isLate = signal.aborted || !(error instanceof FleetError)
    return { alive: false, reason: isLate ? LATE : error.message, freeBytes: null }
  }
}
