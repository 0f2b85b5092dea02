import { CONTROL_PLANE } from '../deploy/node-flags.ts'
import { startAgent, startControlPlane } from './harness/fleet.ts'
import { type LoadOrder, perSecond, startLoad } from './harness/load.ts'
import { freePort } from './harness/processes.ts'
import { atLeast, type Finding } from './harness/report.ts'
import { startNats, startPostgres } from './harness/servers.ts'
import { median } from './harness/statistics.ts'
import { runBench } from './harness/workbench.ts'

/**
 * GET of one dataset with a token, beside the same listener, route and statement that asks nobody who they are, and beside
 * `/health` of the very same process, which neither asks nor reads.
 */

const REQUESTS = 8_000
const IN_FLIGHT = 16
const TARGET = 0.7
/** What a control plane has by default. */
const CONNECTIONS = 8
const PATH = '/api/v1/datasets/root'

await runBench(async (workbench) => {
  const postgres = await startPostgres(workbench)
  const natsUrl = await startNats(workbench)
  const databaseUrl = await postgres.createDatabase('ours')
  const controlPlane = await startControlPlane(workbench, { databaseUrl, natsUrl })
  startAgent(workbench, { natsUrl, driver: 'sim', path: '/sim' })
  await controlPlane.rooted()
  const port = await freePort()
  const args = [JSON.stringify({ port, databaseUrl, connections: CONNECTIONS })]
  const peer = { name: 'public-read', entry: 'bench/programs/public-read.ts', args }
  await workbench.startNode({ ...peer, flags: CONTROL_PLANE.flags, environment: CONTROL_PLANE.environment }).hear()
  const load = await startLoad(workbench)

  const common = { method: 'GET', requests: REQUESTS, inFlight: IN_FLIGHT } as const
  const { token } = controlPlane
  const orders = {
    ours: { ...common, port: controlPlane.port, path: PATH, token },
    floor: { ...common, port, path: PATH },
    health: { ...common, port: controlPlane.port, path: '/health' },
  } satisfies Record<string, LoadOrder>
  for (const order of Object.values(orders)) await load.run(order)
  const rates: Record<keyof typeof orders, number[]> = { ours: [], floor: [], health: [] }
  for (let round = 1; round <= workbench.rounds; round += 1) {
    for (const name of ['ours', 'floor', 'health'] as const) rates[name].push(perSecond(await load.run(orders[name])))
    const [ours, floor, health] = [rates.ours, rates.floor, rates.health].map((each) => each.at(-1)?.toFixed(0))
    workbench.say(`auth ${round}: ${ours} GET/s, without asking ${floor}, /health ${health}`)
  }
  const words = (values: readonly number[]) => `${median(values).toFixed(0)} GET/s at ${IN_FLIGHT}`
  return (['floor', 'health'] as const).map((peer): Finding => {
    const ratio = median(rates.ours) / median(rates[peer])
    const what = { floor: 'without asking', health: '/health, which reads nothing,' }[peer]
    const figures = { figure: words(rates.ours), peer: `${what} ${words(rates[peer])}` }
    return { bench: 'auth', ...figures, ratio, target: atLeast(ratio, TARGET) }
  })
})
