import { Agent, type RequestOptions, request } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { startControlPlane } from './harness/fleet.ts'
import { atMost, type Finding } from './harness/report.ts'
import { startNats, startPostgres } from './harness/servers.ts'
import { median, percentile } from './harness/statistics.ts'
import { runBench } from './harness/workbench.ts'

/**
 * GET of all backups of volumes of a group that has 10,000, one client at a time, to the last byte: while none changes, and while 500
 * of them change each second, as if that many jobs ended. And of a page of 1,000.
 */
const BACKUPS = 10_000
const P99_MS = 50
const REQUESTS = 200
const CHANGES = 50
const CHANGE_EVERY_MS = 100
const PATH = '/v1/volume/backup'

const MAKE = `insert into volume_backup (id, group_id, name, volume_id, volume, series_id, incremental, retention, asked_bytes, status,
    size_bytes, stored_bytes, points, job_id)
  select gen_random_uuid(), g.id, 'backup ' || n, gen_random_uuid(), 'pool/volume-' || n, gen_random_uuid(), true, 7, 2 ^ 30, 'available',
    2 ^ 30, 12345678, array[gen_random_uuid(), gen_random_uuid(), gen_random_uuid()], gen_random_uuid()
  from (select id from user_group order by id limit 1) g, generate_series(1, $1::int) n`

const CHANGE = `update volume_backup set stored_bytes = stored_bytes + 1, version = version + 1, updated_at = now()
  where ordinal in (select (random() * $1)::bigint from generate_series(1, $2))`

await runBench(async (workbench) => {
  const postgres = await startPostgres(workbench)
  const natsUrl = await startNats(workbench)
  const databaseUrl = await postgres.createDatabase('ours')
  const { port, token } = await startControlPlane(workbench, { databaseUrl, natsUrl })
  const client = new pg.Client(databaseUrl)
  await client.connect()
  workbench.defer(() => client.end())
  await client.query(MAKE, [BACKUPS])
  await client.query('analyze volume_backup')
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  workbench.defer(async () => agent.destroy())
  const ask = async (path: string, requests: number) => {
    const latencies: number[] = []
    for (let n = 0; n < requests; n += 1) {
      const began = performance.now()
      const answer = await get({ agent, port, path, headers: { authorization: `Bearer ${token}` } })
      latencies.push(performance.now() - began)
      if (answer.status !== 200 || answer.bytes < path.length) throw new Error(`${path}: ${answer.status}`)
    }
    return latencies
  }

  async function whileTheyChange<Result>(work: Promise<Result>): Promise<Result> {
    let isOver = false
    const end = work.finally(() => {
      isOver = true
    })
    while (!isOver) {
      await client.query(CHANGE, [BACKUPS, CHANGES])
      await Promise.race([end, pause(CHANGE_EVERY_MS)])
    }
    return end
  }

  const first = await ask(PATH, 1)
  await ask(PATH, REQUESTS / 10)
  const [still, changing, page]: [number[], number[], number[]] = [[], [], []]
  for (let round = 1; round <= workbench.rounds; round += 1) {
    still.push(...(await ask(PATH, REQUESTS)))
    changing.push(...(await whileTheyChange(ask(PATH, REQUESTS))))
    page.push(...(await ask(`${PATH}?limit=1000`, REQUESTS)))
    workbench.say(
      `lists ${round}: p99 ${percentile(still, 0.99).toFixed(0)} ms, ${percentile(changing, 0.99).toFixed(0)} while they change`,
    )
  }
  const words = (values: readonly number[]) =>
    `p50 ${median(values).toFixed(1)}, p99 ${percentile(values, 0.99).toFixed(1)} ms`
  const finding = (what: string, values: readonly number[]): Finding => {
    return { bench: 'backup-list', figure: `${what}: ${words(values)}`, peer: '' }
  }
  const promised = (what: string, values: readonly number[]): Finding => {
    return { ...finding(what, values), target: atMost(percentile(values, 0.99), P99_MS, ' ms p99') }
  }
  return [
    promised(`all of ${BACKUPS}`, still),
    finding('the same while 500/s change', changing),
    promised('1,000 of them', page),
    { bench: 'backup-list', figure: `the first after a start: ${first[0]?.toFixed(0)} ms`, peer: '' },
  ]
})

/** Until its last byte is here; a body of megabytes is only counted. */
function get(options: RequestOptions): Promise<{ readonly status: number; readonly bytes: number }> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', ...options }, (response) => {
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, bytes }))
      response.on('error', reject)
    })
    asked.on('error', reject)
    asked.end()
  })
}
