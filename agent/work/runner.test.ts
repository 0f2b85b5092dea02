import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { FleetError } from '../../shared/errors.ts'
import type { JobReport } from '../../shared/job-event.ts'
import type { SpecOf } from '../../shared/job-spec.ts'
import { createLogger } from '../../shared/logger.ts'
import type { WorkOrder } from '../../shared/wire/messages.ts'
import { OWN_TARGET, pointOrders, SERIES } from '../../test/harness/point-orders.ts'
import { until } from '../../test/harness/until.ts'
import { createSimVolumes } from '../volumes/sim/sim-volumes.ts'
import { openJournal } from './journal.ts'
import { createLanes, laneOf } from './lanes.ts'
import { createRunner } from './runner.ts'
import { createSlots, halfOf } from './slots.ts'

const ends = [
  ['is cancelled before its turn', 1, 'stop'],
  ['took the agent down five times', 5, 'fail'],
] as const
for (const [title, begins, end] of ends)
  test(`what an agent that died had staged is taken back when its order ${title}`, async (t) => {
    const orders = await pointOrders(t)
    const [jobId, dataset] = [randomUUID(), randomUUID()]
    const ref = { id: randomUUID(), name: '20260101T000000Z' }
    const spec: SpecOf<'point.restore'> = {
      ...{ kind: 'point.restore', target: OWN_TARGET, series: SERIES, pointId: ref.id, chain: [ref] },
      ...{ paths: [], overwrite: false, destination: { kind: 'new', place: { pool: 'a', dataset } } },
    }
    const order: WorkOrder = { jobId, attempt: 1, spec, notAfter: null }
    const state = orders.points.state
    const before = openJournal(state)
    for (let begin = 0; begin < begins; begin += 1) before.begin(order)
    const { mountpoint, rootInode } = await orders.driver.create(dataset, {
      signal: new AbortController().signal,
      progress: () => undefined,
    })
    orders.tools.points.own.claim({ pool: 'a', dataset, use: { kind: 'job', jobId } })
    await before.stage(jobId, JSON.stringify({ files: 1, bytes: 1, made: { rootInode, mountpoint } }))
    before.close()

    const journal = openJournal(state)
    t.teardown(() => journal.close())
    const lanes = createLanes()
    const stored: JobReport[] = []
    const runner = createRunner({
      ...{ journal, lanes, slots: createSlots(1), archiveSlots: createSlots(1), tools: orders.tools, clock: Date.now },
      tell: () => undefined,
      store: async (report) => void stored.push(report),
      stillWanted: async () => true,
      logger: createLogger('agent', 'silent'),
    })
    const turn = Promise.withResolvers<void>()
    void lanes.run(laneOf(spec), () => turn.promise)
    runner.resume()
    if (end === 'stop') runner.cancel(jobId, 1)
    turn.resolve()
    await until('it has ended', () => stored.length > 0)
    t.is(stored.at(-1)?.events.at(-1)?.type, end)
    t.false(existsSync(join(orders.pool, dataset)))
    t.false(orders.tools.points.own.has(dataset, 'job'))
  })

test('restores of volumes that wait for their turn leave half of the slots to what is quick', async (t) => {
  const orders = await pointOrders(t)
  const journal = openJournal(orders.points.state)
  t.teardown(() => journal.close())
  const away = Promise.withResolvers<never>()
  const tools = {
    ...orders.tools,
    volumes: () => createSimVolumes({}),
    points: { ...orders.tools.points, lease: () => away.promise },
  }
  const slots = createSlots(2)
  const runner = createRunner({
    ...{ journal, lanes: createLanes(), slots, archiveSlots: halfOf(slots, 2), tools, clock: Date.now },
    tell: () => undefined,
    store: async () => undefined,
    stillWanted: async () => true,
    logger: createLogger('agent', 'silent'),
  })
  const ref = { id: randomUUID(), name: '20260101T000000Z' }
  const read = { target: OWN_TARGET, series: SERIES, pointId: ref.id, chain: [ref] }
  const take = (spec: WorkOrder['spec']) => runner.take({ jobId: randomUUID(), attempt: 1, spec, notAfter: null })
  const restores = ['a', 'b', 'c'].map((volume) =>
    take({ kind: 'volume.restore', ...read, mode: 'new', place: { pool: 'a', volume }, createParent: false }),
  )
  await until('they have begun', () => journal.unfinished().length === 3)
  await take({ kind: 'dataset.create', target: { pool: 'a', dataset: randomUUID() } })
  t.is(journal.unfinished().length, 3)
  away.reject(new FleetError('unavailable', 'the target is away'))
  await Promise.all(restores)
})

test('an order that this agent cannot read has failed, and another agent may be given it', async (t) => {
  const orders = await pointOrders(t)
  const journal = openJournal(orders.points.state)
  t.teardown(() => journal.close())
  const stored: JobReport[] = []
  const runner = createRunner({
    ...{ journal, lanes: createLanes(), slots: createSlots(1), archiveSlots: createSlots(1), tools: orders.tools },
    clock: Date.now,
    tell: () => undefined,
    store: async (report) => void stored.push(report),
    stillWanted: async () => true,
    logger: createLogger('agent', 'silent'),
  })
  const jobId = randomUUID()
  await runner.decline({ jobId, attempt: 2 })
  t.like(stored, [{ jobId, attempt: 2, events: [{ type: 'fail', error: { code: 'refused' } }] }])
  t.is(journal.get(jobId), undefined)
})
