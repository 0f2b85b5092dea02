import { setTimeout as sleep } from 'node:timers/promises'
import { BEAT_INTERVAL_MS } from '../shared/wire/messages.ts'
import { startControlPlane } from './harness/fleet.ts'
import type { BenchProcess } from './harness/processes.ts'
import { atMost } from './harness/report.ts'
import { run, startNats, startPostgres } from './harness/servers.ts'
import { median } from './harness/statistics.ts'
import { runBench } from './harness/workbench.ts'

/** What 10,000 agents that only beat cost the control plane, beside a process that does no more than hear them. */

const HOSTS = 10_000
const REGISTER_TIMEOUT_MS = 180_000
const POLL_MS = 1_000
/** After the last host came: caches settle, and what registering wrote is vacuumed. */
const SETTLE_MS = 15_000
const ROUND_MS = 15_000
const CPU_TARGET_PERCENT = 15
const RSS_TARGET_MEBIBYTES = 250

await runBench(async (workbench) => {
  const postgres = await startPostgres(workbench)
  const natsUrl = await startNats(workbench)
  const databaseUrl = await postgres.createDatabase('ours')
  const controlPlane = await startControlPlane(workbench, { databaseUrl, natsUrl })
  const listener = workbench.startNode({
    name: 'beat-listener',
    entry: 'bench/programs/beat-listener.ts',
    args: [JSON.stringify({ natsUrl })],
  })
  await listener.hear()
  const fleetArguments = [JSON.stringify({ natsUrl, hosts: HOSTS })]
  const startedAt = performance.now()
  const fleet = workbench.startNode({ name: 'fleet', entry: 'bench/programs/simulated-fleet.ts', args: fleetArguments })
  await fleet.hear()

  const deadline = startedAt + REGISTER_TIMEOUT_MS
  let online = 0
  while (online < HOSTS) {
    await sleep(POLL_MS)
    online = await onlineHosts(databaseUrl)
    if (performance.now() > deadline) throw new Error(`only ${online} of ${HOSTS} hosts came online`)
  }
  const seconds = (performance.now() - startedAt) / 1000
  workbench.say(
    `beats: ${HOSTS} hosts online after ${seconds.toFixed(1)} s, RSS ${controlPlane.process.rssMebibytes().toFixed(0)} MiB`,
  )
  await sleep(SETTLE_MS)

  const ours: number[] = []
  const theirs: number[] = []
  const rss: number[] = []
  for (let round = 1; round <= workbench.rounds; round += 1) {
    const sentBefore = Number(await fleet.ask({}))
    const heardBefore = Number(await listener.ask({}))
    const [mine = 0, peer = 0] = await busyPercent([controlPlane.process, listener])
    const sent = Number(await fleet.ask({})) - sentBefore
    const heard = Number(await listener.ask({})) - heardBefore
    checkRate(sent, heard)
    ours.push(mine)
    theirs.push(peer)
    rss.push(controlPlane.process.rssMebibytes())
    workbench.say(
      `beats ${round} (${heard} beats): ${mine.toFixed(1)} % of a core, ${rss.at(-1)?.toFixed(0)} MiB; listener ${peer.toFixed(1)} %`,
    )
  }
  const stillOnline = await onlineHosts(databaseUrl)
  if (stillOnline < HOSTS) throw new Error(`only ${stillOnline} of ${HOSTS} hosts stayed online`)

  const cpu = median(ours)
  const ratio = cpu / median(theirs)
  const largest = Math.max(...rss)
  return [
    { bench: 'beats: all come', figure: `${seconds.toFixed(1)} s for ${HOSTS} hosts`, peer: '' },
    {
      bench: 'beats: processor',
      figure: `${cpu.toFixed(1)} % of a core`,
      peer: `listener ${median(theirs).toFixed(1)} %`,
      ratio,
      target: atMost(cpu, CPU_TARGET_PERCENT, ' %'),
    },
    {
      bench: 'beats: memory',
      figure: `RSS ${largest.toFixed(0)} MiB`,
      peer: `listener ${listener.rssMebibytes().toFixed(0)} MiB`,
      ratio: largest / listener.rssMebibytes(),
      target: atMost(largest, RSS_TARGET_MEBIBYTES, ' MiB'),
    },
  ]
})

/** A fleet that was too slow, or a listener that lost beats, would flatter us. */
function checkRate(sent: number, heard: number): void {
  const due = (HOSTS * ROUND_MS) / BEAT_INTERVAL_MS
  if (sent < 0.95 * due || heard < 0.95 * due)
    throw new Error(`of ${due} beats due ${sent} were sent and ${heard} heard`)
}

/** How busy each was over one round, in percent of one core. */
async function busyPercent(processes: readonly BenchProcess[]): Promise<readonly number[]> {
  const startedAt = performance.now()
  const before = processes.map((process) => process.cpuSeconds())
  await sleep(ROUND_MS)
  const seconds = (performance.now() - startedAt) / 1000
  return processes.map((process, n) => (100 * (process.cpuSeconds() - (before[n] ?? 0))) / seconds)
}

async function onlineHosts(databaseUrl: string): Promise<number> {
  const [row] = await run(databaseUrl, ["select count(*)::int as online from host where state = 'online'"])
  // as: the statement above gives one row of this shape
  return (row as { online: number }).online
}
