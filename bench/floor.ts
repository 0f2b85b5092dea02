import { startFloor } from './harness/floor.ts'
import { perSecond, startLoad } from './harness/load.ts'
import { startNats, startPostgres } from './harness/servers.ts'
import { median, percentile } from './harness/statistics.ts'
import { runBench } from './harness/workbench.ts'

/**
 * The floor: the simplest durable program of our shape that one can write, kept to measure ours against.
 *
 * It does: `node:http` → insert a row (Postgres, fsync on) → publish to JetStream → a second process takes the order (and
 * does the bare operation, if it is given one) → publishes an event to JetStream → the first process takes it, updates the
 * row (fsync again) → answers HTTP. Prepared statements, a pool of connections, all requests at once: nothing in it is slowed.
 *
 * It omits: authentication, roles, audit, validation beyond the shape, other routes, error answers, datasets and their
 * states, lanes, attempts, leases, idempotence, an outbox (what is lost between insert and publish stays lost), cancelling,
 * progress, the event feed, logs, metrics, the agent's journal and every undo. A row is inserted and updated; that is all.
 */

const SEQUENTIAL = 300
const CONCURRENT = 4_000
const IN_FLIGHT = 64

await runBench(async (workbench) => {
  const postgres = await startPostgres(workbench)
  const servers = { databaseUrl: await postgres.createDatabase('floor'), natsUrl: await startNats(workbench) }
  const { port } = await startFloor(workbench, servers)
  const load = await startLoad(workbench)
  const order = { port, path: '/', body: '{}' }
  await load.run({ ...order, requests: SEQUENTIAL, inFlight: 8 })
  const p50: number[] = []
  const rates: number[] = []
  for (let round = 1; round <= workbench.rounds; round += 1) {
    const alone = await load.run({ ...order, requests: SEQUENTIAL, inFlight: 1 })
    const together = await load.run({ ...order, requests: CONCURRENT, inFlight: IN_FLIGHT })
    p50.push(percentile(alone.latenciesMs, 0.5))
    rates.push(perSecond(together))
    workbench.say(`floor ${round}: p50 ${p50.at(-1)?.toFixed(2)} ms, ${rates.at(-1)?.toFixed(0)} jobs/s`)
  }
  return [
    { bench: 'floor', figure: `p50 ${median(p50).toFixed(2)} ms`, peer: 'none: it is the peer' },
    { bench: 'floor', figure: `${median(rates).toFixed(0)} jobs/s at ${IN_FLIGHT}`, peer: 'none: it is the peer' },
  ]
})
