import test from 'ava'
import type { Caller } from '../control-plane/core/caller.ts'
import { jobsOf, withinBounds } from '../control-plane/core/export-jobs.ts'
import { expireJob, MAX_ATTEMPTS } from '../control-plane/core/job-change.ts'
import { createExportCounts } from '../control-plane/db/stores/export-counts.ts'
import { createExportWatchStore } from '../control-plane/db/stores/export-watch-store.ts'
import { createIdempotencyStore } from '../control-plane/db/stores/idempotency-store.ts'
import { createExportWatch } from '../control-plane/hosts/export-watch.ts'
import { createMetrics } from '../control-plane/metrics.ts'
import { FleetError } from '../shared/errors.ts'
import { hashExports } from '../shared/exports-hash.ts'
import { newId } from '../shared/ids.ts'
import { createLogger } from '../shared/logger.ts'
import { openSealed } from '../shared/sealed-box.ts'
import { ADMIN, OPERATOR } from './harness/point-room.ts'
import { GIB, INITIATOR, openVolumeRoom, type VolumeRoom, wwnOf } from './harness/volume-room.ts'

const cleanUps: (() => unknown)[] = []
let room: VolumeRoom
test.before(async () => {
  room = await openVolumeRoom({ teardown: (act) => void cleanUps.push(act) })
})
test.after.always(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp()
})
test.beforeEach(() => room.forget())

const initiators = [INITIATOR]
const logger = createLogger('test', 'silent')
const CHAP = { user: 'node1', secret: 'correct-horse-battery' }

/** A clone of a snapshot that nobody made through us. */
function clone(name: string | number, pool = 'a-pool', rest: object = {}) {
  return { source: `${pool}/golden@v1`, volume: `${pool}/${name}`, wwn: wwnOf(name), initiators, ...rest }
}

async function order(caller: Caller, ...wanted: Parameters<VolumeRoom['exports']['create']>[1]) {
  const { batchId, jobIds } = await room.exports.create(caller, wanted)
  return { batchId, jobId: jobIds[0] ?? '', jobIds }
}

async function exported(caller: Caller, ...wanted: Parameters<VolumeRoom['exports']['create']>[1]) {
  const { jobIds } = await room.exports.create(caller, wanted)
  for (const jobId of jobIds) await room.exported(jobId)
}

const batch = (id: string) => room.exports.batch(ADMIN, id)

test.serial(
  'a list is one order a host; what cannot be ordered fails alone, and all of it is told as it goes',
  async (t) => {
    room.registry.deaf('bare')
    const wanted = [
      clone(0),
      clone(1, 'b-pool'),
      clone(2, 'nobodys'),
      clone(3, 'bare-pool'),
      { ...clone(4), source: 'b-pool/golden@v1' },
      clone(5, 'a-pool', { wwn: wwnOf(0).toUpperCase() }),
      { ...clone(6), volume: 'a-pool/0' },
      clone(7),
    ]
    const { batchId, jobIds } = await room.exports.create(OPERATOR, wanted)
    t.is(jobIds.length, 2)
    const pending = await batch(batchId)
    t.like(pending, { type: 'create', requested: 8, phase: 'pending', endedAt: null, finished: 5, passed: 5, done: [] })
    t.deepEqual(
      pending.errors.map(({ n, code }) => `${n} ${code}`),
      ['2 not_found', '3 unavailable', '4 invalid', '5 invalid', '6 invalid'],
    )
    t.deepEqual(pending.jobs.map(({ host, state }) => `${host} ${state}`).toSorted(), ['a dispatched', 'b dispatched'])
    const [onA = '', onB = ''] = pending.jobs.toSorted((x, y) => (x.host < y.host ? -1 : 1)).map(({ id }) => id)
    const spec = await room.specOf(onA, 'export.create')
    t.like(spec.elements[0], {
      n: 0,
      source: { pool: 'a-pool', volume: 'golden', snapshot: 'v1' },
      place: { pool: 'a-pool', volume: '0' },
      createParent: false,
      wwn: wwnOf(0),
      access: { initiators, chapUser: null },
    })
    t.deepEqual(
      spec.elements.map(({ n }) => n),
      [0, 7],
    )
    t.deepEqual(await room.rows('volume'), ['a-pool/0 creating', 'a-pool/7 creating', 'b-pool/1 creating'])

    await room.tell(onA, { type: 'start', seq: 1, at: 0 })
    const progress = { phase: 'devices', elements: 1, endedElements: 1, totalElements: 2 }
    await room.tell(onA, { type: 'progress', seq: 2, at: 0, progress })
    t.like(await batch(batchId), { phase: 'pending', passed: 7, finished: 6 })
    await room.tell(onB, { type: 'start', seq: 1, at: 0 })
    await room.tell(onB, { type: 'progress', seq: 2, at: 0, progress: { phase: 'clone', elements: 0 } })
    t.like(await batch(batchId), { phase: 'clone', passed: 7, finished: 6 })
    await room.exported(onB, {}, { reused: true })
    t.like(await batch(batchId), { phase: 'devices', passed: 7, finished: 7, endedAt: null })
    await room.exported(onA, { 7: 'no_space' })
    const ended = await batch(batchId)
    t.like(ended, { phase: 'ended', passed: 8, finished: 8, times: { cloneSeconds: 0.25, targetSeconds: 0.5 } })
    t.truthy(ended.endedAt)
    t.deepEqual(
      ended.done.map(({ n, reused, volume }) => [n, reused, volume]),
      [
        [0, false, true],
        [1, true, true],
      ],
    )
    t.deepEqual(
      ended.errors.map(({ n }) => n),
      [2, 3, 4, 5, 6, 7],
    )
    t.deepEqual(await room.rows('volume'), ['a-pool/0 available', 'b-pool/1 available'])
    t.deepEqual(await room.rows('export'), [`${wwnOf(0)} available`, `${wwnOf(1)} available`])
    t.like(await room.volumes.get(OPERATOR, 'a-pool/0'), { sizeBytes: GIB, origin: 'a-pool/golden@v1' })
    t.like(await room.exports.get(OPERATOR, wwnOf('0')), { volume: 'a-pool/0', host: 'a', initiators, live: undefined })
    // A page of jobs may hold hundreds of such lists.
    const { items } = await room.jobs.list(ADMIN, { kind: 'export.create', host: 'b' }, { limit: 1 })
    t.like(items[0], { id: onB, state: 'succeeded', spec: { kind: 'export.create', elements: [] }, result: null })
    t.like(await room.jobs.get(ADMIN, onB), { spec: { elements: [{ n: 1 }] }, result: { done: [{ n: 1 }] } })
    const counts = createExportCounts(room.sql)
    const idle = { onlineCount: () => 0, head: () => 0, dropped: () => 0, overdueCount: () => 0 }
    const station = { state: () => ({ goodAt: null, overdue: false }) }
    const parts = { registry: idle, feed: idle, audit: idle, schedules: idle, station }
    t.regex(
      await createMetrics({ ...parts, exportCounts: counts }).metrics(),
      /^holdfast_exports\{state="available"\} 2$/m,
    )
    const away = createMetrics({ ...parts, exportCounts: () => Promise.reject(new Error('away')) })
    t.notRegex(await away.metrics(), /^holdfast_exports\{/m)
  },
)

test.serial('what is wrong with a list is named before anything is written', async (t) => {
  const cases: [object, string][] = [
    [{ wwn: 'iqn.26-01.x' }, 'clones[1].wwn'],
    [{ initiators: [] }, 'clones[1].initiators'],
    [{ initiators: ['iqn.2026-13.test:x'] }, 'clones[1].initiators[0]'],
    [{ volume: 'a-pool' }, 'clones[1].volume'],
    [{ source: 'a-pool/x' }, 'clones[1].source'],
    [{ chap: { user: 'a b', secret: 'x' } }, 'clones[1].chap.user'],
  ]
  for (const [given, field] of cases) {
    const error = await t.throwsAsync<FleetError>(room.exports.create(ADMIN, [clone(0), { ...clone(1), ...given }]))
    t.deepEqual([error?.code, error?.field], ['invalid', field])
  }
  await t.throwsAsync(room.exports.create(ADMIN, []), { code: 'invalid' })
  await t.throwsAsync(room.exports.remove(ADMIN, [{ volume: 'x', wwn: wwnOf(1) }]), { message: /clones\[0\]\.volume/ })
  await t.throwsAsync(room.exports.create({ ...OPERATOR, role: 'viewer' }, [clone(0)]), { code: 'forbidden' })
  room.registry.deaf('a')
  await t.throwsAsync(room.exports.create(ADMIN, [clone(0)]), { code: 'unavailable' })
  const { batchId, jobIds } = await room.exports.create(ADMIN, [clone(0), clone(1, 'nobodys')])
  t.deepEqual(jobIds, [])
  t.like(await batch(batchId), { phase: 'ended', finished: 2, jobs: [] })
  t.truthy((await batch(batchId)).endedAt)
  const [audited] = await room.db.query(`select result, code from audit where detail ->> 'batch' = $1`, [batchId])
  t.deepEqual(audited, { result: 'refused', code: 'unavailable' })
  await t.throwsAsync(batch(newId()), { code: 'not_found' })
  await t.throwsAsync(batch('x'), { code: 'not_found' })
  t.deepEqual([await room.rows('volume'), await room.rows('export')], [[], []])
})

test.serial('of two lists that want one wwn at the same time one has it, whichever replicas take them', async (t) => {
  const planes = [room, room.plane()]
  const ask = (wanted: (n: number) => ReturnType<typeof clone>) =>
    Promise.all(
      Array.from({ length: 8 }, (_, n) => planes[n % 2]?.exports.create(ADMIN, [wanted(n)]) ?? Promise.reject()),
    )
  const rivals = await ask((n) => clone(`r${n}`, 'a-pool', { wwn: wwnOf('one') }))
  const errors = await Promise.all(rivals.map(async ({ batchId }) => (await batch(batchId)).errors))
  t.is(errors.filter((list) => list.length === 0).length, 1)
  t.true(errors.flat().every(({ code, message }) => code === 'conflict' && message.includes('in use')))
  t.is((await room.rows('export')).length, 1)

  // The same list eight times: the first makes it, the others find it.
  const same = await ask(() => clone('same'))
  const states = await Promise.all(same.map(({ jobIds }) => room.stateOf(jobIds[0] ?? '')))
  t.deepEqual(states.toSorted(), ['dispatched', ...Array(7).fill('queued')])
  t.is((await room.rows('volume')).filter((row: string) => row === 'a-pool/same creating').length, 1)
  const ids = same.map(({ jobIds }) => jobIds[0] ?? '')
  const first = ids[states.indexOf('dispatched')] ?? ''
  const [second = '', ...others] = ids.filter((id) => id !== first)
  // One that fails takes nothing from those that still want it.
  await room.fail(first, { code: 'busy', message: 'x' })
  t.true((await room.rows('volume')).includes('a-pool/same creating'))
  await Promise.all(others.map((jobId) => room.jobs.cancel(ADMIN, jobId)))
  t.true((await room.rows('export')).includes(`${wwnOf('same')} creating`))
  await room.sent(second)
  await room.exported(second)
  t.true((await room.rows('export')).includes(`${wwnOf('same')} available`))
})

test.serial(
  'of an order that fails, is cancelled or whose host stays away nothing is left but what was there',
  async (t) => {
    await exported(ADMIN, clone('old'))
    const before = await room.exports.get(ADMIN, wwnOf('old'))
    const other = ['iqn.2026-01.test:other']
    const failed = await order(ADMIN, { ...clone('old'), initiators: other }, clone('new'))
    await room.fail(failed.jobId, { code: 'internal', message: 'broken' })
    t.deepEqual(
      (await batch(failed.batchId)).errors.map(({ n, message }) => [n, message]),
      [
        [0, 'broken'],
        [1, 'broken'],
      ],
    )
    t.deepEqual(await room.exports.get(ADMIN, wwnOf('old')), before)
    t.deepEqual(
      [await room.rows('volume'), await room.rows('export')],
      [['a-pool/old available'], [`${wwnOf('old')} available`]],
    )

    const lost = await order(ADMIN, clone('lost'))
    for (let n = 0; n < MAX_ATTEMPTS; n += 1) {
      room.committed(await room.changes.change([lost.jobId], expireJob))
      await room.dispatch.sweep()
    }
    t.like(await batch(lost.batchId), { phase: 'ended', errors: [{ n: 0, code: 'unavailable' }] })
    t.deepEqual(await room.rows('volume'), ['a-pool/old available'])

    const queued = [await order(ADMIN, clone('q')), await order(ADMIN, clone('q'))]
    for (const { jobId } of queued.toReversed()) await room.jobs.cancel(ADMIN, jobId)
    await room.end(queued[0]?.jobId ?? '', { type: 'fail', error: { code: 'cancelled', message: 'stopped' } })
    t.deepEqual(await room.rows('volume'), ['a-pool/old available'])

    const again = await room.jobs.retry(ADMIN, failed.jobId)
    t.like(again, { kind: 'export.create', retryOf: failed.jobId, state: 'dispatched' })
    await room.exported(again.id)
    t.like(await room.exports.get(ADMIN, wwnOf('old')), { initiators: other, id: before.id })
    t.like(await room.exports.get(ADMIN, wwnOf('new')), { state: 'available' })
  },
)

test.serial('an export is used again for its volume alone, and its volume for its origin alone', async (t) => {
  await exported(OPERATOR, clone('x'))
  const { batchId, jobIds } = await room.exports.create(OPERATOR, [
    clone('x'),
    { ...clone('y'), wwn: wwnOf('x') },
    { ...clone('x'), wwn: wwnOf('z'), source: 'a-pool/golden@v2' },
    { volume: 'a-pool/golden', wwn: wwnOf('golden'), initiators },
  ])
  const { errors } = await batch(batchId)
  // The second and the third name what the first does.
  t.deepEqual(
    errors.map(({ n, code }) => [n, code]),
    [
      [1, 'invalid'],
      [2, 'invalid'],
    ],
  )
  await room.exported(jobIds[0] ?? '', {}, { reused: true })
  const others = await order(
    OPERATOR,
    { ...clone('y'), wwn: wwnOf('x') },
    { ...clone('x'), wwn: wwnOf('z'), source: 'a-pool/golden@v2' },
  )
  t.deepEqual(
    (await batch(others.batchId)).errors.map(({ n, code }) => [n, code]),
    [
      [0, 'conflict'],
      [1, 'exists'],
    ],
  )
  // What nobody made through us is exported, and stays without a row.
  t.deepEqual(await room.rows('volume'), ['a-pool/x available'])
  t.is((await room.exports.list(OPERATOR, { volume: 'a-pool/golden' }, { limit: 5 })).items.length, 1)
})

test.serial('what goes is gone when its host says so, each by itself, and what comes after waits for it', async (t) => {
  await exported(OPERATOR, clone('x'), clone('y'), clone('z'))
  const blocked = await room.exports.create(OPERATOR, [{ volume: 'a-pool/z', wwn: wwnOf('z2'), initiators }])
  await room.exported(blocked.jobIds[0] ?? '')
  const going = await room.exports.remove(OPERATOR, [
    { volume: 'a-pool/x', wwn: wwnOf('x'), deleteVolume: true },
    { volume: 'a-pool/y', wwn: wwnOf('y'), deleteVolume: true, force: true },
    { volume: 'a-pool/z', wwn: wwnOf('z'), deleteVolume: true },
    { volume: 'a-pool/z', wwn: wwnOf('y2') },
    { volume: 'a-pool/z', wwn: wwnOf('x') },
    { volume: 'a-pool/y', wwn: wwnOf('z2') },
  ])
  const jobId = going.jobIds[0] ?? ''
  const asked = await batch(going.batchId)
  t.deepEqual(
    asked.errors.map(({ n, code }) => [n, code]),
    [
      [2, 'conflict'],
      [4, 'invalid'],
      [5, 'conflict'],
    ],
  )
  t.regex(asked.errors[0]?.message ?? '', /export iqn.2026-01.test:z2/)
  t.like(asked.done, [{ n: 3, volume: false }])
  t.like((await room.specOf(jobId, 'export.delete')).elements[1], { deleteVolume: true, force: true })
  const next = await order(OPERATOR, clone('x'), clone('y'))
  t.is(await room.stateOf(next.jobId), 'queued')
  const other = room.tenant(await room.group('exports-0'))
  const foreign = await order(other, { ...clone('x'), source: undefined })
  t.deepEqual(
    (await batch(foreign.batchId)).errors.map(({ code }) => code),
    ['not_found'],
  )

  // Of y only its export went.
  await room.unexported(jobId, { 1: { unexported: true } })
  t.deepEqual(
    (await room.rows('volume')).filter((row: string) => !row.includes('z')),
    ['a-pool/x creating', 'a-pool/y available'],
  )
  t.deepEqual(
    (await room.rows('export')).filter((row: string) => !row.includes('z')),
    [`${wwnOf('x')} creating`, `${wwnOf('y')} creating`],
  )
  t.deepEqual(
    (await batch(going.batchId)).done.map(({ n, volume }) => [n, volume]),
    [
      [0, true],
      [3, false],
    ],
  )
  t.like((await batch(going.batchId)).errors[0], { n: 1, unexported: true })
  await room.sent(next.jobId)
  await room.exported(next.jobId)
  t.deepEqual(
    (await room.rows('volume')).filter((row: string) => !row.includes('z')),
    ['a-pool/x available', 'a-pool/y available'],
  )

  const failing = await room.exports.remove(OPERATOR, [{ volume: 'a-pool/x', wwn: wwnOf('x'), deleteVolume: true }])
  const waiting = await order(OPERATOR, clone('x'))
  await room.fail(failing.jobIds[0] ?? '', { code: 'unavailable', message: 'tgtd is gone' })
  t.true((await room.rows('export')).includes(`${wwnOf('x')} available`))
  await room.sent(waiting.jobId)
  await room.exported(waiting.jobId, {}, { reused: true })
  const again = await room.jobs.retry(OPERATOR, failing.jobIds[0] ?? '')
  await room.unexported(again.id)
  t.deepEqual(
    (await room.rows('volume')).filter((row: string) => row.includes('/x')),
    [],
  )
  const absent = await room.exports.remove(other, [{ volume: 'a-pool/x', wwn: wwnOf('x'), deleteVolume: true }])
  t.like(await batch(absent.batchId), { phase: 'ended', jobs: [], done: [{ n: 0, volume: true }] })
})

test.serial("a group's volumes and exports are nobody else's to clone, take over, see or remove", async (t) => {
  const [one, two] = [room.tenant(await room.group('exports-1')), room.tenant(await room.group('exports-2'))]
  await room.volume('base', one)
  const source = await room.snapshot('a-pool/base', 's', one)
  await exported(one, { ...clone('c'), source })
  const { batchId } = await room.exports.create(two, [
    { ...clone('d'), source },
    { ...clone('e'), source: 'a-pool/golden@v1' },
    { volume: 'a-pool/base', wwn: wwnOf('f'), initiators },
    { volume: 'a-pool/nobodys', wwn: wwnOf('g'), initiators },
  ])
  const { errors } = await room.exports.batch(two, batchId)
  t.deepEqual(
    errors.map(({ code }) => code),
    Array(4).fill('not_found'),
  )
  await t.throwsAsync(room.exports.batch(one, batchId), { code: 'not_found' })
  await t.throwsAsync(room.exports.get(two, wwnOf('c')), { code: 'not_found' })
  t.deepEqual((await room.exports.list(two, {}, { limit: 9 })).items, [])
  await room.volume('own', two)
  const taken = await room.exports.create(two, [{ volume: 'a-pool/own', wwn: wwnOf('c'), initiators }])
  t.like((await room.exports.batch(two, taken.batchId)).errors, [{ code: 'conflict' }])
  const removal = await room.exports.remove(two, [{ volume: 'a-pool/c', wwn: wwnOf('c'), deleteVolume: true }])
  t.like((await room.exports.batch(two, removal.batchId)).errors, [{ code: 'not_found' }])
  t.like(await room.exports.get(one, wwnOf('c')), { state: 'available' })
  // Nor is a wwn free for others as long as it goes.
  await room.exports.remove(one, [{ volume: 'a-pool/c', wwn: wwnOf('c') }])
  const early = await room.exports.create(two, [{ volume: 'a-pool/own', wwn: wwnOf('c'), initiators }])
  t.like((await room.exports.batch(two, early.batchId)).errors, [{ code: 'conflict' }])
  t.is((await room.exports.list(ADMIN, { host: 'a' }, { limit: 9 })).items.length, 1)
})

test.serial('secrets of CHAP are kept sealed, travel sealed for their host, and go with their exports', async (t) => {
  const chap = CHAP
  const first = await order(
    OPERATOR,
    clone('x', 'a-pool', { chap }),
    clone('y', 'a-pool', { chap: { ...chap, secret: 'another' } }),
    // Named twice: not ordered.
    clone('x', 'a-pool', { chap: { ...chap, secret: 'a-third' } }),
    clone('z'),
  )
  const open = async (jobId: string) => {
    const { secret = '' } = await room.sent(jobId)
    return JSON.parse(openSealed(room.keys.privateKey, Buffer.from(secret, 'base64'), `order/${jobId}`).toString())
  }
  t.deepEqual(await open(first.jobId), { [wwnOf('x')]: chap.secret, [wwnOf('y')]: 'another' })
  const job = JSON.stringify(await room.db.query('select * from job'))
  t.false(job.includes(chap.secret))
  await room.exported(first.jobId)
  t.is(await room.secrets(), 1)
  const changed = await order(OPERATOR, clone('x', 'a-pool', { chap: { ...chap, secret: 'changed' } }))
  await room.fail(changed.jobId, { code: 'busy', message: 'x' })
  t.is(await room.secrets(), 1)
  // The one that is kept is another, and that of the job went with it: nobody is to believe that it was changed.
  await t.throwsAsync(room.jobs.retry(OPERATOR, changed.jobId), { message: /kept no longer; ask for the export anew/ })
  const again = await order(OPERATOR, clone('x', 'a-pool', { chap }))
  t.deepEqual(await open(again.jobId), { [wwnOf('x')]: chap.secret })
  await room.exported(again.jobId)
  t.is(await room.secrets(), 2)
  await exported(OPERATOR, clone('y'))
  t.is(await room.secrets(), 1)

  const told = await room.exports.reconcile(ADMIN, 'a')
  const [{ id }] = await room.db.query(`select id from job where kind = 'export.reconcile' and finished_at is null`)
  t.is(told.jobId, id)
  t.deepEqual(await open(id), { [wwnOf('x')]: chap.secret })
  await room.succeed(id, { made: 0, removed: 0, errors: [] })
  const all = ['x', 'y', 'z'].map((name) => ({ volume: `a-pool/${name}`, wwn: wwnOf(name), deleteVolume: true }))
  const gone = await room.exports.remove(OPERATOR, all)
  await room.unexported(gone.jobIds[0] ?? '')
  t.is(await room.secrets(), 0)

  const unsendable = await order(OPERATOR, clone('w', 'bare-pool', { chap }))
  const failed = await room.jobs
    .settled(unsendable.jobId, { timeoutMs: 1, signal: AbortSignal.timeout(10_000) })
    .catch((error) => error)
  t.true(failed instanceof FleetError)
})

test.serial(
  'a host that exports something else than Postgres says is told all of it, once, and again ever more rarely',
  async (t) => {
    await exported(OPERATOR, clone('x'))
    let nowMs = Date.now()
    const replica = (exports: VolumeRoom['exports']) =>
      createExportWatch({
        ...{ exports, logger, gatherMs: 1 },
        store: createExportWatchStore(room.sql),
        now: () => nowMs,
      })
    const watches = [replica(room.exports), replica(room.plane().exports)]
    /** Two beats of the host, heard by both replicas: one may be older than what it did last. */
    const beat = async (hash: string, times = 2) => {
      for (let n = 0; n < times; n += 1) {
        nowMs += 5_000
        for (const watch of watches) watch.heard('a', hash)
        await Promise.all(watches.map((watch) => watch.idle()))
      }
      return room.db.query(
        `select id, state from job where kind = 'export.reconcile' and created_at > now() - interval '1 hour' order by ordinal desc`,
      )
    }
    await room.db.query(`delete from job where kind = 'export.reconcile'`)
    const { id: exportId } = await room.exports.get(OPERATOR, wwnOf('x'))
    const access = { initiators, chapUser: null }
    const wanted = { exportId, wwn: wwnOf('x'), place: { pool: 'a-pool', volume: 'x' }, access }
    t.deepEqual(await beat(hashExports([wanted])), [])
    t.deepEqual(await beat('of a moment ago', 1), [])
    t.deepEqual(await beat(hashExports([wanted])), [])
    const [{ id }, ...others] = await beat(hashExports([]))
    t.deepEqual(others, [])
    t.deepEqual((await room.sent(id)).spec, { kind: 'export.reconcile', exports: [wanted] })
    // What is ordered meanwhile waits, as the list does not know of it; and nothing is told while it does.
    const next = await order(OPERATOR, clone('y'))
    t.is(await room.stateOf(next.jobId), 'queued')
    t.is((await beat(hashExports([]))).length, 1)
    await room.succeed(id, { made: 1, removed: 0, errors: [] })
    await room.sent(next.jobId)
    await room.exported(next.jobId)
    t.is((await beat('still another')).length, 1)
    await room.db.query(`update export_reconcile set next_at = next_at - interval '15 seconds'`)
    const [{ id: second }] = await beat('still another')
    await room.fail(second, { code: 'unavailable', message: 'no tgtd' })
    await room.db.query(`update export_reconcile set next_at = next_at - interval '15 seconds'`)
    t.is((await beat('still another')).length, 2, 'it waits twice as long')
    await room.db.query(`update export_reconcile set next_at = now() + interval '7 days'`)
    t.is((await beat('still another')).length, 2, 'as after a restore of the station')
    await room.db.query(`update export_reconcile set next_at = now() + interval '1 year'`)
    const [{ id: third }, ...before] = await beat('still another')
    t.is(before.length, 2, 'the clock was ahead')
    await room.fail(third, { code: 'unavailable', message: 'no tgtd' })
    t.like(await room.jobs.retry(ADMIN, second), { kind: 'export.reconcile', retryOf: second })
    await t.throwsAsync(room.exports.reconcile(OPERATOR, 'a'), { code: 'forbidden' })
  },
)

test.serial('what its host tells of an export this moment is told with it', async (t) => {
  await exported(ADMIN, clone('x'))
  const { id } = await room.exports.get(ADMIN, wwnOf('x'))
  let keptId = id
  const sessions = [{ initiator: INITIATOR, address: '127.0.0.1:5000' }]
  const place = { pool: 'a-pool', volume: 'x' }
  const answering = await room.answers('a', 'exports', ({ body }) => {
    t.deepEqual(body, { wwns: [wwnOf('x')], limit: 1000 })
    const items = [{ wwn: wwnOf('x'), exportId: keptId, place, standing: true, sessions }]
    return { ok: true, body: { technology: 'tgt', portals: ['127.0.0.1:3260'], lun: 1, items, next: null } }
  })
  const live = { portal: '127.0.0.1:3260', lun: 1, standing: true, sessions }
  t.deepEqual((await room.exports.get(ADMIN, id)).live, live)
  t.deepEqual((await room.exports.list(ADMIN, {}, { limit: 1 })).items[0]?.live, live)
  // It keeps one of that name yet which was somebody else's: who is logged in there is not told.
  keptId = newId()
  t.deepEqual((await room.exports.get(ADMIN, id)).live, { ...live, standing: false, sessions: [] })
  answering.unsubscribe()
  const stale = await room.exports.remove(ADMIN, [{ volume: 'a-pool/x', wwn: wwnOf('x'), version: 0 }])
  t.like(await batch(stale.batchId), { finished: 1, errors: [{ code: 'stale' }] })
})

test.serial('a repeat under one key finds the list that the first request ordered', async (t) => {
  const [hash, holder] = ['ab'.repeat(32), newId()]
  await createIdempotencyStore(room.sql).hold({ hash, fingerprints: ['cd'.repeat(32)] }, holder)
  const ask = () => {
    let n = 0
    const next = () => n++
    return room.exports.create({ ...ADMIN, key: { hash, holder, next } }, [clone('k'), clone('l', 'b-pool')])
  }
  const first = await ask()
  const again = await ask()
  t.is(again.batchId, first.batchId)
  t.deepEqual(again.jobIds.toSorted(), first.jobIds.toSorted())
})

test.serial(
  'a list of a thousand elements is one order, and what does not fit a message is refused by itself',
  async (t) => {
    const many = Array.from({ length: 1_000 }, (_, n) => clone(`m${n}`))
    const { batchId, jobId } = await order(ADMIN, ...many)
    await room.sent(jobId)
    await room.exported(jobId)
    t.like(await batch(batchId), { phase: 'ended', finished: 1_000 })
    const gone = await room.exports.remove(
      ADMIN,
      many.map(({ volume, wwn }) => ({ volume, wwn, deleteVolume: true })),
    )
    await room.unexported(gone.jobIds[0] ?? '')
    t.deepEqual(await room.rows('volume'), [])
    const crowd = Array.from({ length: 250 }, (_, n) => `iqn.2026-01.test:${'i'.repeat(190)}${n}`)
    const wide = await order(ADMIN, ...many.slice(0, 20).map((one) => ({ ...one, initiators: crowd })))
    const { errors } = await batch(wide.batchId)
    t.true(errors.length > 0 && errors.length < 20 && errors.every(({ code }) => code === 'too_large'))
    await room.sent(wide.jobId)
  },
)

test('an order with its sealed secrets fits a message too', (t) => {
  const host = { id: newId(), name: 'a' }
  const ordered = Array.from({ length: 1_000 }, (_, n) => {
    const wwn = wwnOf(`${'w'.repeat(190)}${n}`)
    const place = { pool: 'a-pool', volume: `v${n}` }
    const access = { initiators, chapUser: 'u' }
    return { host, holds: [], element: { n, source: null, place, createParent: false, wwn, access, exportId: newId() } }
  })
  const secrets = Object.fromEntries(ordered.map(({ element: { wwn } }) => [wwn, 's'.repeat(255)]))
  const fitting = withinBounds({ ordered, done: [], errors: [] }, secrets)
  t.true(fitting.errors.length > 0 && fitting.errors.every(({ code }) => code === 'too_large'))
  const given = { kind: 'export.create', batchId: newId(), retryOf: undefined, isWaited: false, secrets } as const
  const [job] = jobsOf(fitting.ordered, given)
  const sealed = Math.ceil((JSON.stringify(job?.secrets).length * 4) / 3)
  const bytes = JSON.stringify(job?.decision.spec).length + sealed
  t.true(bytes > 900_000 && bytes < 1_020_000, String(bytes))
  t.is(withinBounds({ ordered, done: [], errors: [] }, {}).errors.length, 0)
})
