import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { JobReport } from '../../shared/job-event.ts'
import type { SpecOf } from '../../shared/job-spec.ts'
import { createLogger } from '../../shared/logger.ts'
import type { WorkOrder } from '../../shared/wire/messages.ts'
import { OWN_TARGET, pointOrders, SERIES } from '../../test/harness/point-orders.ts'
import { until } from '../../test/harness/until.ts'
import { openJournal } from './journal.ts'
import { createLanes, laneOf } from './lanes.ts'
import { createRunner } from './runner.ts'
import { createSlots } from './slots.ts'

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
