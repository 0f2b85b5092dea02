import test, { type ExecutionContext } from 'ava'
import { z } from 'zod'
import { DEFAULT_GROUP_ID, SYSTEM_CALLER } from '../control-plane/core/caller.ts'
import { usable } from '../control-plane/core/images.ts'
import { applyReports, cancelJob, expireJob } from '../control-plane/core/job-change.ts'
import type { Order } from '../control-plane/core/orders.ts'
import { statement } from '../control-plane/db/sql.ts'
import { createChangeStore } from '../control-plane/db/stores/change-store.ts'
import { createDatasetStore } from '../control-plane/db/stores/dataset-store.ts'
import { createDispatchStore } from '../control-plane/db/stores/dispatch-store.ts'
import { createHostStore } from '../control-plane/db/stores/host-store.ts'
import { createOrderStore, type Placed } from '../control-plane/db/stores/order-store.ts'
import { FleetError } from '../shared/errors.ts'
import { newId } from '../shared/ids.ts'
import type { JobEvent } from '../shared/job-event.ts'
import { startDatabase } from './harness/database.ts'
import { ADMIN, openPointRoom } from './harness/point-room.ts'

const pool = {
  name: 'main',
  driver: 'sim' as const,
  capabilities: { cow: true, atomic: true, enforcesReadonly: true },
  sizeBytes: 100,
  freeBytes: 50,
}
const made = { rootInode: 256, mountpoint: '/pool/x', atomic: true, cow: true }

async function open(t: ExecutionContext) {
  const { db, sql } = await startDatabase(t)
  const hosts = createHostStore(sql)
  const hostId = await hosts.welcome({
    name: 'a',
    hash: 'hash',
    inventory: { version: '1', slots: 4, pools: [pool], restorePaths: [], sourcePaths: [], backupRoot: null },
    isOpen: true,
  })
  const kept = await hosts.find('a')
  const poolId = kept?.pools[0]?.id ?? ''
  const host = { id: hostId, name: 'a' }
  const orders = createOrderStore(sql)
  const changes = createChangeStore(sql, 'test')

  const base = { groupId: DEFAULT_GROUP_ID, by: SYSTEM_CALLER }
  const create = (name: string): Order => ({
    ...base,
    names: [],
    decide: () => {
      const id = newId()
      return {
        create: {
          id,
          name,
          pool: { id: poolId, host: 'a', pool: 'main', driver: 'sim', capabilities: pool.capabilities },
          isSnapshot: false,
          readonly: false,
          origin: null,
          tags: {},
        },
        request: { name },
        spec: { kind: 'dataset.create', target: { pool: 'main', dataset: id } },
        host,
        subject: { id, name },
        holds: [],
        interactive: false,
      }
    },
  })
  const work = (name: string, exclusive: boolean): Order => ({
    ...base,
    names: [name],
    decide: (findings) => {
      const { id } = usable(findings.named(name), name)
      return {
        request: {},
        spec: { kind: 'dataset.delete', target: { pool: 'main', dataset: id } },
        host,
        subject: { id, name },
        holds: [{ lane: id, exclusive }],
        interactive: false,
      }
    },
  })
  const remove = (name: string): Order => ({
    ...work(name, true),
    decide: (findings) => {
      const { id } = usable(findings.named(name), name)
      return { ...work(name, true).decide(findings), remove: { id } }
    },
  })
  /** Its end leaves the dataset as it is, so what replicas know of it stays true. */
  const restore = (name: string): Order => ({
    ...work(name, true),
    decide: (findings) => {
      const { id } = usable(findings.named(name), name)
      const destination = { kind: 'host', path: '/tmp/x' } as const
      const snapshot = { pool: 'main', dataset: id }
      return {
        ...work(name, true).decide(findings),
        spec: { kind: 'snapshot.restore', snapshot, sourcePath: '/', destination },
      }
    },
  })
  const place = async (...batch: Order[]) => orders.place(batch, Date.now())
  const replica = createOrderStore(sql)
  const placeElsewhere = async (...batch: Order[]) => replica.place(batch, Date.now())
  const end = (jobId: string, type: 'succeed' | 'fail') => {
    const event: JobEvent =
      type === 'succeed'
        ? { type, seq: 1, at: 0, result: made, phases: [] }
        : { type, seq: 1, at: 0, error: { code: 'internal', message: 'x' }, phases: [] }
    return changes.change([jobId], (job) =>
      applyReports(job, [{ host: 'a', report: { jobId, attempt: job.attempt, delivery: 1, events: [event] } }]),
    )
  }
  const available = async (name: string) => {
    const [placed] = await place(create(name))
    await end((placed as Placed).job.id, 'succeed') // as: the first create of a new name is placed
  }
  return {
    db,
    sql,
    hosts,
    changes,
    dispatch: createDispatchStore(sql),
    datasets: createDatasetStore(sql),
    create,
    work,
    remove,
    restore,
    place,
    placeElsewhere,
    end,
    available,
  }
}

type Answer = Awaited<ReturnType<ReturnType<typeof createOrderStore>['place']>>[number] | undefined
const jobIdOf = (answer: Answer) => (answer && 'job' in answer ? answer.job.id : '')
const isGranted = (answer: Answer) => answer !== undefined && 'job' in answer && answer.job.state === 'dispatched'

test('an order for a group that went in that moment is a conflict, and costs the others nothing', async (t) => {
  const { place, create } = await open(t)
  const late = { ...create('late'), groupId: newId() }
  await t.throwsAsync(place(late), { code: 'conflict' })
  // Tried one by one, because Postgres itself refused.
  await t.throwsAsync(place(late, create('good')), { code: '23503' })
  const [good] = await place(create('good'))
  t.true(good !== undefined && 'job' in good)
})

test('two creates of one name: one wins, together or at the same time', async (t) => {
  const { place, create } = await open(t)
  const together = await place(create('x'), create('x'))
  t.is(together.filter((answer) => answer instanceof FleetError && answer.code === 'exists').length, 1)
  const apart = (await Promise.all([place(create('y')), place(create('y')), place(create('y'))])).flat()
  t.is(apart.filter((answer) => answer instanceof FleetError && answer.code === 'exists').length, 2)
})

test('a name whose creation was given up is busy, not taken, until its host has confirmed that', async (t) => {
  const { place, create, end, changes, db } = await open(t)
  const [given] = await place(create('x'))
  await db.query(`update job set state = 'running', attempt = 1 where id = $1`, [jobIdOf(given)])
  const stop = async (isWithdrawn: boolean) =>
    changes.change([jobIdOf(given)], (job) => cancelJob(job, { code: 'unavailable', message: '' }, isWithdrawn))
  await stop(true)
  const [first, other] = await place(create('x'), create('y'))
  t.is(first instanceof FleetError && first.code, 'unavailable')
  t.true(isGranted(other))
  await end(jobIdOf(given), 'fail')
  t.true(isGranted((await place(create('x')))[0]))
})

test('a refused order refuses nobody else in its group', async (t) => {
  const { place, create, work } = await open(t)
  const [first, second] = await place(work('absent', true), create('z'))
  t.is(first instanceof FleetError && first.code, 'not_found')
  t.true(isGranted(second))
})

test('a lane is given out in the order of arrival: shared together, exclusive alone', async (t) => {
  const { place, work, available, end, dispatch, hosts } = await open(t)
  await available('x')
  await hosts.setState(['a'], 'online')
  const [s1, s2, x1, s3] = await place(work('x', false), work('x', false), work('x', true), work('x', false))
  t.deepEqual([s1, s2, x1, s3].map(isGranted), [true, true, false, false])
  t.deepEqual(await dispatch.claim(10), [])
  await end(jobIdOf(s1), 'fail')
  t.deepEqual(await dispatch.claim(10), [])
  await end(jobIdOf(s2), 'fail')
  t.deepEqual(
    (await dispatch.claim(10)).map((order) => order.jobId),
    [jobIdOf(x1)],
  )
  await end(jobIdOf(x1), 'fail')
  t.deepEqual(
    (await dispatch.claim(10)).map((order) => order.jobId),
    [jobIdOf(s3)],
  )
})

test('the database itself refuses a second exclusive claim on a lane', async (t) => {
  const { place, work, available, db } = await open(t)
  await available('x')
  await place(work('x', true), work('x', true))
  await t.throwsAsync(db.query('update lane_hold set granted = true'), { message: /lane_hold_granted_once/ })
})

test('ends settle datasets: a failed creation leaves no name behind, a failed removal the dataset', async (t) => {
  const { place, create, end, datasets, changes } = await open(t)
  const [failing] = await place(create('x'))
  t.is(await datasets.find(DEFAULT_GROUP_ID, 'x'), undefined)
  await end(jobIdOf(failing), 'fail')
  const [again] = await place(create('x'))
  await end(jobIdOf(again), 'succeed')
  t.like(await datasets.find(DEFAULT_GROUP_ID, 'x'), { state: 'available', rootInode: 256 })

  const [other] = await place(create('y'))
  await changes.change([jobIdOf(other)], (job) => cancelJob(job, { code: 'cancelled', message: '' }, false))
  t.is(await datasets.find(DEFAULT_GROUP_ID, 'y'), undefined)
})

test('a job whose lease is lost keeps its lane and goes out again under the next attempt', async (t) => {
  const { place, work, available, dispatch, hosts, changes } = await open(t)
  await available('x')
  await hosts.setState(['a'], 'online')
  const [first, second] = await place(work('x', true), work('x', true))
  await changes.change([jobIdOf(first)], expireJob)
  const claimed = await dispatch.claim(10)
  t.deepEqual(
    claimed.map((order) => [order.jobId, order.attempt]),
    [[jobIdOf(first), 2]],
  )
  t.false(claimed.some((order) => order.jobId === jobIdOf(second)))
})

test('a change decided on what another replica has changed meanwhile is decided again', async (t) => {
  const { place, work, available, changes, sql } = await open(t)
  await available('x')
  const [placed] = await place(work('x', true))
  const { job } = placed as Placed // as: x is available, so the order is placed
  const other = createChangeStore(sql, 'other')
  changes.expect(job)
  await other.change([job.id], expireJob)

  const event: JobEvent = { type: 'start', seq: 1, at: 0 }
  const report = (attempt: number) => ({
    host: 'a',
    report: { jobId: job.id, attempt, delivery: 1, events: [event] },
  })
  t.deepEqual((await changes.change([job.id], (locked) => applyReports(locked, [report(1)]))).changes, [])
  changes.expect(job)
  const {
    changes: [applied],
  } = await changes.change([job.id], (locked) => applyReports(locked, [report(2)]))
  t.is(applied?.state, 'running')
  t.is(applied?.job.attempt, 2)
})

test('numbers are given out in the order of commits: a reader never passes a late row', async (t) => {
  const { db, changes } = await open(t)
  const tell = (host: string) =>
    changes.tell([{ type: 'host.online', jobId: null, groupId: null, body: { host, state: 'online' } }])
  const held = db.createQueryRunner()
  await held.query('begin')
  await held.query('update event_head set seq = seq + 1')
  const [head] = await held.query('select seq from event_head')
  await held.query(`insert into event (seq, type, body) values ($1, 'host.online', '{}')`, [head.seq])

  const later = tell('late')
  const race = await Promise.race([
    later.then(() => 'passed'),
    new Promise((resolve) => setTimeout(() => resolve('waits'), 200)),
  ])
  t.is(race, 'waits')
  t.is((await db.query('select count(*)::int as n from event where seq >= $1', [head.seq]))[0].n, 0)
  await held.query('commit')
  await held.release()
  const { events } = await later
  t.is(events[0]?.seq, Number(head.seq) + 1)
})

test('what a replica knows of a dataset is never trusted over what another has done to it', async (t) => {
  const { available, work, remove, place, placeElsewhere, end } = await open(t)
  await available('x')
  const [first] = await place(work('x', false))
  const [known] = await place(work('x', false))
  t.true(isGranted(first) && isGranted(known))
  const [removal] = await placeElsewhere(remove('x'))
  t.false(isGranted(removal))
  const [late] = await place(work('x', false))
  t.like(late, { code: 'conflict' })
  for (const answer of [first, known]) await end(jobIdOf(answer), 'succeed')
})

test('two replicas that both know a dataset give its lane to one', async (t) => {
  const { available, restore, place, placeElsewhere, end, sql } = await open(t)
  await available('x')
  for (const order of [place, placeElsewhere]) {
    const [placed] = await order(restore('x'))
    await end(jobIdOf(placed), 'fail')
  }
  for (let round = 0; round < 20; round += 1) {
    const answers = (await Promise.all([place(restore('x')), placeElsewhere(restore('x'))])).flat()
    t.is(answers.filter(isGranted).length, 1)
    t.true(answers.every((answer) => jobIdOf(answer) !== ''))
    const held = statement('held', z.object({ granted: z.boolean() }), 'select granted from lane_hold')
    t.is((await sql.rows(held, [])).length, 2)
    for (const answer of answers) await end(jobIdOf(answer), 'fail')
  }
})

test('what one order removes the next of its group finds being deleted, known or not', async (t) => {
  const { available, work, remove, place, end } = await open(t)
  await available('x')
  t.like(await place(remove('x'), remove('x'), work('x', false)), [
    { job: { state: 'dispatched' } },
    { code: 'conflict' },
    { code: 'conflict' },
  ])
  await available('y')
  const [known] = await place(work('y', false))
  await place(work('y', false))
  const answers = await place(remove('y'), remove('y'), work('y', false))
  t.like(answers, [{ job: { state: 'queued' } }, { code: 'conflict' }, { code: 'conflict' }])
  await end(jobIdOf(known), 'fail')
})

test('who waits for a job at a replica that nobody told of its end learns of it from Postgres soon', async (t) => {
  const room = await openPointRoom(t)
  const other = room.plane()
  const startedAt = performance.now()
  const settled = (jobId: string) =>
    other.jobs.settled(jobId, { timeoutMs: 60_000, signal: AbortSignal.timeout(120_000) })
  const [done, failed] = [
    await room.datasets.create(ADMIN, { name: 'done' }),
    await room.datasets.create(ADMIN, { name: 'failed' }),
  ]
  const waiting = settled(done.jobId)
  await room.succeed(done.jobId, made)
  t.like(await waiting, made)
  await room.fail(failed.jobId, { code: 'no_space', message: 'full' })
  await t.throwsAsync(settled(failed.jobId), { code: 'no_space' })
  t.true(performance.now() - startedAt < 30_000)
})
