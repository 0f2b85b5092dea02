import { randomUUID } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FleetError } from '../../shared/errors.ts'
import type { JobReport } from '../../shared/job-event.ts'
import { createLogger } from '../../shared/logger.ts'
import { makeInstanceTree } from '../../test/harness/instance-tree.ts'
import { lacksLxc, openLxcRoom } from '../../test/harness/lxc-room.ts'
import { pointOrders, refOf, restoreTo } from '../../test/harness/point-orders.ts'
import { testUnless } from '../../test/harness/system-packages.ts'
import { until } from '../../test/harness/until.ts'
import { createLxcDriver } from '../instances/lxc/lxc-driver.ts'
import { createWatchdogs } from '../instances/watchdog.ts'
import type { PipelineTools } from '../pipelines/pipeline.ts'
import { openJournal } from './journal.ts'
import { createLanes } from './lanes.ts'
import { openLeftWork } from './left-work.ts'
import { createRunner } from './runner.ts'
import { createSlots } from './slots.ts'

const lacks = lacksLxc()
const it = testUnless(lacks)

it('what cannot be taken back of a container keeps its tree, over a start of the agent, until it can be', async (t) => {
  const room = openLxcRoom()
  const notes = mkdtempSync('/var/tmp/holdfast-notes-')
  t.teardown(() => {
    room.close()
    rmSync(notes, { recursive: true, force: true })
  })
  const driver = createLxcDriver({ folder: room.folder, watchdogs: createWatchdogs(notes) })
  const never = new AbortController().signal
  const orders = await pointOrders(t)
  const rootfs = room.define('shop')
  writeFileSync(join(rootfs, 'root/ticks'), '1000\n')
  await makeInstanceTree(orders.root, { instances: driver, id: 'shop' })
  const point = orders.create()
  await orders.run(point)
  const place = { pool: 'a', dataset: randomUUID() }
  const spec = restoreTo(orders, [refOf(point)], {
    ...({ kind: 'instance', type: 'lxc', name: 'shop', place, identity: 'keep', replace: 'shop' } as const),
    ...{ start: true, update: null },
  })

  const failing = () => Promise.reject(new FleetError('unavailable', 'the tools are gone'))
  const broken = { ...driver, start: failing, unmake: failing }
  // It is made and put in its place, does not start, and does not go either.
  const making = {
    ...broken,
    unmake: (name: string) => (existsSync(join(room.folder, name)) ? failing() : Promise.resolve()),
  }
  const toolsOf = (instances: typeof driver): PipelineTools => ({ ...orders.tools, instances: () => instances })
  const folder = join(notes, 'left')
  const [logger, lanes] = [createLogger('agent', 'silent'), createLanes()]
  const left = openLeftWork(folder, lanes, logger)
  const journal = openJournal(orders.points.state)
  t.teardown(() => journal.close())
  const stored: JobReport[] = []
  const runner = createRunner({
    ...{ journal, lanes, left, slots: createSlots(1), archiveSlots: createSlots(1), tools: toolsOf(making) },
    ...{ clock: Date.now, tell: () => undefined, stillWanted: async () => true, logger },
    store: async (report) => void stored.push(report),
  })
  const jobId = randomUUID()
  await runner.take({ jobId, attempt: 1, spec, notAfter: null })
  const end = await until('it has failed', () => stored.at(-1)?.events.at(-1))
  t.like(end, { type: 'fail', error: { code: 'unavailable', left: true } })
  const tree = join(orders.pool, place.dataset)
  t.true(existsSync(join(tree, 'rootfs')))
  t.is((await driver.find('shop', never))?.rootfs, join(tree, 'rootfs'))
  t.true(left.has(jobId))

  // The next agent: the tools are still gone, and then they are there again.
  const next = openLeftWork(folder, lanes, logger)
  await orders.points.sweep(new Map([['a', orders.driver]]), (id) => next.has(id))
  t.true(existsSync(join(tree, 'rootfs')))
  await next.retry(toolsOf(broken))
  t.true(next.has(jobId))
  await next.retry(toolsOf(driver))
  t.false(next.has(jobId))
  t.deepEqual(readdirSync(folder), [])
  t.false(existsSync(tree))
  t.deepEqual(orders.points.tools.own.all(), [])
  t.like(await driver.find('shop', never), { state: 'STOPPED', rootfs })
  t.deepEqual(readdirSync(room.folder), ['shop'])
})
