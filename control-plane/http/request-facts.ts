import { Histogram, type Registry } from 'prom-client'
import type { Logger } from '../../shared/logger.ts'

/** What the log and the metrics say about one finished request. */
export interface RequestFacts {
  readonly id: string
  readonly method: string
  /** The route's pattern, never the path: that may hold names. Null when none matched. */
  readonly route: string | null
  readonly dialect: string
  readonly status: number
  readonly seconds: number
  readonly subject: string | null
}

const BUCKETS_S = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 30]

/** One log line and one observation per finished request. */
export function createRequestObserver(logger: Logger, registry: Registry): (facts: RequestFacts) => void {
  const seconds = new Histogram({
    name: 'holdfast_http_request_seconds',
    help: 'Time from the first header to the answer',
    labelNames: ['dialect', 'method', 'route', 'status'] as const,
    buckets: BUCKETS_S,
    registers: [registry],
  })
  return (facts) => {
    const { id, method, route, dialect, status, subject } = facts
    // Unmatched methods come from the client; as labels they would grow without bound.
    seconds.observe(
      { dialect, method: route === null ? 'none' : method, route: route ?? 'none', status },
      facts.seconds,
    )
    const ms = Math.round(facts.seconds * 1e4) / 10
    logger.info({ event: 'request', requestId: id, method, route, status, ms, subject })
  }
}
