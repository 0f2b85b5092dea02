import { closeSync, openSync, writeSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import { z } from 'zod'
import { startFleet, type TestFleet } from '../test/harness/fleet.ts'
import { mountPool } from './harness/pool.ts'
import { atMost, type Finding } from './harness/report.ts'
import { median } from './harness/statistics.ts'
import { runBench } from './harness/workbench.ts'

/**
 * Whole jobs of the emulab dialect on btrfs and tgt: from the POST of a list to the first status that says `complete`, asked for again and
 * again every two milliseconds. While the lists of 200 are made, each status is asked for, without a pause, beside the dialect's route that
 * does nothing.
 */
const ONE_MS = 30
const HUNDRED_MS = 600
const STATUS_ROUTES = 2
const ALONE = 20
/** Between two looks at a list whose calls are not compared: the caller shares the processors with what it waits for. */
const LOOK_MS = 2
const IMAGE_BYTES = 4 * 2 ** 20
const ROOT = '/lun/api/v1.0'
const VOLUMES = '/api/v1/volumes'

const QUIET: ExecutionContext['log'] = Object.assign(() => undefined, { skip: () => undefined })
const Accepted = z.object({ job_id: z.string() })
const Status = z.object({ status: z.string(), num_completed: z.number() })

await runBench(async (workbench) => {
  const scope = { teardown: (act: () => unknown) => workbench.defer(async () => void (await act())) }
  const agent = { name: 'a', driver: 'btrfs', path: mountPool(workbench) } as const
  const fleet = await startFleet({ ...scope, passed: true, log: QUIET }, { agents: [agent] })
  await makeImage(fleet)
  const clones = clonesOf(fleet)
  await clones.make(10)
  const one: number[] = []
  for (let round = 0; round < ALONE; round += 1) one.push((await clones.make(1)).ms)
  const hundred: number[] = []
  const [statuses, nothings]: [number[], number[]] = [[], []]
  for (let round = 1; round <= workbench.rounds; round += 1) {
    hundred.push((await clones.make(100)).ms)
    const large = await clones.make(200, true)
    statuses.push(...large.statuses)
    nothings.push(...large.nothings)
    workbench.say(`clones ${round}: 100 in ${hundred.at(-1)?.toFixed(0)} ms, 200 in ${large.ms.toFixed(0)} ms`)
  }
  const [status, nothing] = [median(statuses), median(nothings)]
  return [
    {
      bench: 'clones',
      figure: `one p50 ${median(one).toFixed(1)} ms`,
      peer: '',
      target: atMost(median(one), ONE_MS, ' ms'),
    },
    {
      bench: 'clones',
      figure: `100 p50 ${median(hundred).toFixed(0)} ms`,
      peer: '',
      target: atMost(median(hundred), HUNDRED_MS, ' ms'),
    },
    {
      bench: 'clones',
      figure: `status p50 ${status.toFixed(2)} ms of ${statuses.length}`,
      peer: `clone_test ${nothing.toFixed(2)} ms`,
      ratio: status / nothing,
      target: atMost(status / nothing, STATUS_ROUTES, ' routes that do nothing'),
    },
  ] satisfies readonly Finding[]
})

async function makeImage(fleet: TestFleet): Promise<void> {
  const made = await fleet.call('POST', VOLUMES, { name: 'image', size_bytes: IMAGE_BYTES })
  if (made.status !== 201) throw new Error(`no image: ${JSON.stringify(made.body)}`)
  const image = openSync(made.body.device, 'r+')
  writeSync(image, Buffer.alloc(IMAGE_BYTES, 1))
  closeSync(image)
  const taken = await fleet.call('POST', `${VOLUMES}/${encodeURIComponent(made.body.path)}/snapshots`, { name: '1' })
  if (taken.status !== 201) throw new Error(`no snapshot: ${JSON.stringify(taken.body)}`)
}

interface Made {
  readonly ms: number
  /** Milliseconds of each status asked for, and of each call beside it that does nothing. */
  readonly statuses: readonly number[]
  readonly nothings: readonly number[]
}

function clonesOf(fleet: TestFleet) {
  const timed = async (path: string) => {
    const startedMs = performance.now()
    const { body } = await fleet.call('GET', path)
    return { body, ms: performance.now() - startedMs }
  }

  async function run(method: 'POST' | 'DELETE', list: readonly object[], isBeside: boolean): Promise<Made> {
    const startedMs = performance.now()
    const { body } = await fleet.call(method, `${ROOT}/clone`, { clones: list })
    const { job_id: id } = Accepted.parse(body)
    const [statuses, nothings]: [number[], number[]] = [[], []]
    for (;;) {
      const told = await timed(`${ROOT}/clone_status/${id}`)
      const { status, num_completed: completed } = Status.parse(told.body)
      if (status === 'failed' || (status === 'complete' && completed !== list.length))
        throw new Error(JSON.stringify(told.body))
      if (status === 'complete') return { ms: performance.now() - startedMs, statuses, nothings }
      statuses.push(told.ms)
      if (isBeside) nothings.push((await timed(`${ROOT}/clone_test`)).ms)
      else await pause(LOOK_MS)
    }
  }

  return {
    async make(count: number, isBeside = false): Promise<Made> {
      const all = Array.from({ length: count }, (_, n) => ({ dst: `a-pool/nodes/${n}`, wwn: `iqn.2020-01.bench:${n}` }))
      const wanted = { src: 'a-pool/image@1', initiators: ['iqn.2020-01.bench:initiator'], createParent: 1 }
      const made = await run(
        'POST',
        all.map((one) => ({ ...one, ...wanted })),
        isBeside,
      )
      await run(
        'DELETE',
        all.map((one) => ({ ...one, deleteClone: 1 })),
        false,
      )
      return made
    },
  }
}
