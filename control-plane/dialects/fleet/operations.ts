import { requireFleetRole } from '../../core/caller.ts'
import { raw, route, WireError } from '../../http/route.ts'
import { Alive, Readiness } from './schemas.ts'

export interface OperationsDeps {
  /** Whether this process can do its work now. */
  readonly readiness: () => Promise<Readiness>
  /** Prometheus' registry. */
  readonly metrics: { readonly contentType: string; metrics(): Promise<string> }
}

const ALIVE = { status: 'ok' } as const

/** What load balancers, orchestrators and Prometheus ask. */
export function operationsRoutes({ readiness, metrics }: OperationsDeps) {
  const alive = route({
    operation: 'alive',
    method: 'GET',
    path: '/healthz',
    summary: 'The process answers',
    access: 'public',
    status: 200,
    result: Alive,

    handle: () => ({ status: 200, body: ALIVE }),
  })

  const ready = route({
    operation: 'ready',
    method: 'GET',
    path: '/readyz',
    summary: 'Postgres, NATS and an ingest consumer are up',
    description: 'All true: 200. Any false: 503 with the same body.',
    access: 'public',
    status: 200,
    result: Readiness,
    errors: [503],

    async handle() {
      const state = await readiness()
      if (state.postgres && state.nats && state.ingest) return { status: 200, body: state }
      throw new WireError(503, state)
    },
  })

  const scrape = raw({
    operation: 'scrapeMetrics',
    method: 'GET',
    path: '/metrics',
    summary: 'Prometheus metrics; needs a role over the fleet',
    access: 'viewer',
    status: 200,
    contentType: metrics.contentType,

    async handle({ caller }) {
      requireFleetRole(caller, 'viewer')
      return { status: 200, body: await metrics.metrics() }
    },
  })

  return [alive, ready, scrape]
}
