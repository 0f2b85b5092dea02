import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { openJournal } from '../agent/work/journal.ts'
import { createLanes } from '../agent/work/lanes.ts'
import { createRunner } from '../agent/work/runner.ts'
import { createSlots } from '../agent/work/slots.ts'
import type { JobEvent } from '../shared/job-event.ts'
import { createLogger } from '../shared/logger.ts'
import type { ExportElement } from '../shared/volume-spec.ts'
import type { WorkOrder } from '../shared/wire/messages.ts'
import { elementOf, goldenImage, INITIATOR, openExportHost, unexportOf } from '../test/harness/export-host.ts'
import { mountFileSystem } from './harness/pool.ts'
import { freePort, requireTool } from './harness/processes.ts'
import { atLeast, atMost, type Finding } from './harness/report.ts'
import { median } from './harness/statistics.ts'
import { runBench, type Workbench } from './harness/workbench.ts'

/**
 * Clones of one image, each exported to one initiator by a tgtd, on btrfs and XFS: the agent's part of a job, from the order's arrival to
 * its end, journal and fsyncs included. Beside it, in turns, a shell that does for each `cp --reflink` and three `tgtadm` with another
 * tgtd; it writes nothing out. What was made is removed outside of the clock.
 */
const ONE_MS = 15
const HUNDRED_MS = 500
const TIMES_FASTER = 5
const ALONE = 30
const SIZES = [1, 10, 50, 100, 200]
const FLAT = 1.5

const EACH = `for n in $(seq "$1"); do
  cp --reflink=always "$2/image" "$2/$n"
  "$3" --lld iscsi -C "$4" --op new --mode target --tid "$n" -T "iqn.2020-01.peer:$n"
  "$3" --lld iscsi -C "$4" --op new --mode logicalunit --tid "$n" --lun 1 -b "$2/$n"
  "$3" --lld iscsi -C "$4" --op bind --mode target --tid "$n" --initiator-name "$5"
done`
const GONE = `for n in $(seq "$1"); do
  "$3" --lld iscsi -C "$4" --op delete --force --mode target --tid "$n"; rm "$2/$n"
done`

interface Side {
  /** @returns milliseconds */
  make(count: number): Promise<number>
}

await runBench(async (workbench) => {
  const findings: Finding[] = []
  for (const kind of ['btrfs', 'xfs'] as const) {
    const path = mountFileSystem(workbench, { kind, name: kind })
    findings.push(
      ...(await measure(workbench, kind, { ours: await ours(workbench, path), peer: await peer(workbench, path) })),
    )
  }
  return findings
})

async function measure(
  workbench: Workbench,
  kind: string,
  { ours, peer }: { readonly ours: Side; readonly peer: Side },
): Promise<readonly Finding[]> {
  for (const count of [100, 100, 1]) await ours.make(count)
  const alone: number[] = []
  for (let round = 0; round < ALONE; round += 1) alone.push(await ours.make(1))
  const hundreds = { ours: [] as number[], peer: [] as number[] }
  const bySize = new Map(SIZES.map((size) => [size, [] as number[]]))
  for (let round = 1; round <= workbench.rounds; round += 1) {
    for (const side of round % 2 === 0 ? (['ours', 'peer'] as const) : (['peer', 'ours'] as const))
      hundreds[side].push(await (side === 'ours' ? ours : peer).make(100))
    for (const [size, each] of bySize) each.push((await ours.make(size)) / size)
    workbench.say(
      `${kind} ${round}: 100 in ${hundreds.ours.at(-1)?.toFixed(0)} ms, tgtadm ${hundreds.peer.at(-1)?.toFixed(0)} ms`,
    )
  }
  const [one, hundred, theirs] = [median(alone), median(hundreds.ours), median(hundreds.peer)]
  const each = [...bySize].map(([size, costs]) => ({ size, ms: median(costs) }))
  const growth = (each.at(-1)?.ms ?? 0) / Math.min(...each.map(({ ms }) => ms))
  const bench = `exports: ${kind}`
  return [
    { bench, figure: `one p50 ${one.toFixed(1)} ms`, peer: '', target: atMost(one, ONE_MS, ' ms') },
    {
      bench,
      figure: `100 p50 ${hundred.toFixed(0)} ms`,
      peer: `tgtadm ${theirs.toFixed(0)} ms`,
      ratio: theirs / hundred,
      target: atLeast(theirs / hundred, TIMES_FASTER, ' as fast'),
    },
    { bench, figure: `100 p50 ${hundred.toFixed(0)} ms`, peer: '', target: atMost(hundred, HUNDRED_MS, ' ms') },
    {
      bench,
      figure: each.map(({ size, ms }) => `${size}: ${ms.toFixed(1)}`).join(', '),
      peer: 'ms an element',
      ratio: growth,
      target: { ...atMost(growth, FLAT), words: `200 ≤ ${FLAT} of the least` },
    },
  ]
}

/** The agent's runner with a journal, in this process. */
async function ours(workbench: Workbench, path: string): Promise<Side> {
  const [pool, state] = [join(path, 'pool'), join(workbench.folder, `state-${randomUUID()}`)]
  for (const folder of [pool, state]) mkdirSync(folder)
  const portal = `127.0.0.1:${await freePort()}`
  const host = await openExportHost({ state, portal, pools: { a: { driver: 'reflink', path: pool } } })
  workbench.defer(async () => void (await host[Symbol.asyncDispose]()))
  await goldenImage(host.volumes('a'))
  const journal = openJournal(state)
  workbench.defer(() => journal.close())
  let end: JobEvent | undefined
  const runner = createRunner({
    ...{ journal, lanes: createLanes(), slots: createSlots(1), archiveSlots: createSlots(1), tools: host.tools },
    tell: () => undefined,
    async store({ events }) {
      end = events.at(-1)
    },
    stillWanted: async () => true,
    clock: Date.now,
    logger: createLogger('agent', 'silent'),
  })
  const run = async (spec: WorkOrder['spec']): Promise<void> => {
    await runner.take({ jobId: randomUUID(), attempt: 1, spec, notAfter: null })
    // as: what both kinds answer
    const failed = end?.type === 'succeed' ? (end.result as { errors: readonly unknown[] }).errors : [end]
    if (failed.length > 0) throw new Error(`ours: ${JSON.stringify(failed.slice(0, 3))}`)
  }
  return {
    async make(count) {
      const elements: ExportElement[] = Array.from({ length: count }, (_, n) => elementOf(n))
      const startedMs = performance.now()
      await run({ kind: 'export.create', elements })
      const ms = performance.now() - startedMs
      await run({ kind: 'export.delete', elements: elements.map((element) => unexportOf(element)) })
      return ms
    },
  }
}

async function peer(workbench: Workbench, path: string): Promise<Side> {
  const folder = join(path, 'peer')
  mkdirSync(folder)
  const source = join(path, 'pool', 'volumes', 'image@', 'golden.raw')
  execFileSync('/bin/cp', ['--reflink=always', source, join(folder, 'image')])
  const [portal, control] = [await freePort(), String((await freePort()) % 30_000)]
  const args = ['-f', '-C', control, '-t', '4', '--iscsi', `portal=127.0.0.1:${portal}`]
  const daemon = workbench.start({ name: `tgtd-${control}`, command: requireTool('tgtd'), args, stopSignal: 'SIGKILL' })
  const script = (text: string, count: number) =>
    execFileSync('/bin/bash', ['-ec', text, 'peer', String(count), folder, requireTool('tgtadm'), control, INITIATOR])
  await daemon.until(async () => {
    execFileSync(requireTool('tgtadm'), ['--lld', 'iscsi', '-C', control, '--op', 'show', '--mode', 'target'], {
      stdio: 'ignore',
    })
    return true
  })
  return {
    async make(count) {
      const startedMs = performance.now()
      script(EACH, count)
      const ms = performance.now() - startedMs
      script(GONE, count)
      return ms
    },
  }
}
