import test, { type ExecutionContext } from 'ava'
import { LOAN_MARK } from '../control-plane/core/loans.ts'
import { openLending } from '../control-plane/open-lending.ts'
import { createBlockHttp } from '../control-plane/upstream/block-http.ts'
import { createCallerTokens } from '../control-plane/upstream/caller-tokens.ts'
import { createCallersService } from '../control-plane/upstream/callers-service.ts'
import { dial } from '../control-plane/upstream/dial.ts'
import { createLendingService } from '../control-plane/upstream/lending-service.ts'
import { unaskedTokens } from '../control-plane/upstream/service-tokens.ts'
import { FleetError } from '../shared/errors.ts'
import { newId } from '../shared/ids.ts'
import { createLogger } from '../shared/logger.ts'
import { openSealed } from '../shared/sealed-box.ts'
import { startCinderStub } from './harness/cinder-stub.ts'
import { ADMIN, MADE, OPERATOR, openPointRoom, type PointRoom } from './harness/point-room.ts'

const PROJECT = 'red'
const TOKEN = `somebody:${PROJECT}`
const INITIATOR = 'iqn.2026-11.io.holdfast:a'
const GIB = 2 ** 30
const fault = (code: string, message?: RegExp) => ({ instanceOf: FleetError, code, ...(message ? { message } : {}) })

const cleanUps: (() => unknown)[] = []
let room: PointRoom

test.before(async () => {
  room = await openPointRoom({ teardown: (act) => void cleanUps.push(act) })
  await room.db.query('update host set initiator = $1 where name = $2', [INITIATOR, 'a'])
  const kept = await room.hosts.find('a')
  if (kept) room.registry.keep(kept)
})
test.after.always(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp()
})

/** Volumes of a service that is a stub, for a fleet whose hosts are the test. */
async function open(t: ExecutionContext) {
  const stub = await startCinderStub(t)
  const dialled = dial(stub.url, 4, { connectMs: 5_000, idleMs: 10_000 })
  t.teardown(() => dialled.close())
  const http = createBlockHttp(dialled)
  const credentials = {
    async find(): Promise<never> {
      throw new FleetError('unauthorized', 'the credentials are not known')
    },
  }
  const tokens = createCallerTokens({ credentials, keystone: undefined })
  const { sql, points, targets, registry: fleet, vault } = room
  const groups = new Map([[PROJECT, room.groupId]])
  const { lentVolumes, tick } = openLending({
    ...{ sql, vault, points, targets, fleet, logger: createLogger('test', 'error') },
    lending: {
      service: createLendingService({ http, tokens: unaskedTokens() }),
      asCaller: createCallersService({ http, tokens }),
    },
    groupNamed: async (project) => groups.get(project),
    // Nobody ticks meanwhile.
    patienceMs: 0,
  })
  await room.db.query('delete from lun_loan')

  const { volumeBackups } = room.captures
  const get = (id: string) => volumeBackups.get(OPERATOR, id)
  const loans = (): Promise<{ phase: string; job_id: string | null; secret_id: string | null }[]> =>
    room.db.query('select phase, job_id, secret_id from lun_loan')
  /** All that is due now or later, until nothing moves but a job. */
  async function settle(at = 'now()'): Promise<void> {
    for (let n = 0; n < 40; n += 1) {
      await room.db.query(`update lun_loan set look_at = ${at}`)
      await tick.run()
      const standing = await loans()
      if (standing.every(({ phase }) => phase === 'work')) return
    }
    t.fail(`it does not end: ${JSON.stringify(await loans())}`)
  }
  /** The job that a loan was taken for. */
  async function job(): Promise<string> {
    const [loan] = await loans()
    return loan?.job_id ?? t.fail('it has no job') ?? ''
  }
  /** The one job that is there, done well. */
  async function done(result: unknown = MADE): Promise<void> {
    await settle()
    await room.succeed(await job(), result)
    await settle()
  }
  const secrets = async () => (await room.db.query(`select id from secret where kind = 'chap'`)).length
  const volume = (given: object = {}) => stub.keep('volumes', { project: PROJECT, name: 'data', ...given })
  async function backUp(of: { readonly id: string }, given: object = {}) {
    const asked = { name: 'nightly', volume: of.id, incremental: true, ...given }
    return (await lentVolumes.backUp(OPERATOR, TOKEN, asked)).id
  }
  /** Nothing of ours is left in the service, and nothing is borrowed. */
  async function isWoundUp(...left: readonly string[]): Promise<void> {
    t.deepEqual(await loans(), [])
    t.deepEqual([...stub.things.volumes.keys()], left)
    t.deepEqual(
      [...stub.things.snapshots.values()].filter(({ name }) => name?.startsWith('holdfast-')),
      [],
    )
    t.is(await secrets(), 0)
  }
  return {
    ...stub,
    groups,
    lentVolumes,
    volumeBackups,
    get,
    loans,
    settle,
    job,
    done,
    secrets,
    volume,
    backUp,
    isWoundUp,
  }
}

test.serial('a volume there is read through a snapshot of it, and grows by what has changed', async (t) => {
  const { lines, volume, backUp, get, settle, job, done, secrets, isWoundUp, lentVolumes, control } = await open(t)
  const source = volume({ size: 2 })
  const id = await backUp(source)
  t.like(await get(id), { status: 'creating', project: PROJECT, volumeId: source.id, volume: 'data', jobId: null })
  // As if the clock had been ahead.
  await settle(`now() + interval '1 year'`)
  const order = await room.sent(await job())
  t.like(order.spec, { kind: 'point.create', series: `volume-backup@${id}`, bases: [], consolidate: false })
  const lun = order.spec.kind === 'point.create' && order.spec.source.kind === 'lun' ? order.spec.source : undefined
  t.is(lun?.sizeBytes, 2 * GIB)
  t.like(lun?.connection, { portals: ['192.0.2.1:3260'], lun: 1, initiator: INITIATOR, chap: { user: 'user' } })
  t.false(JSON.stringify(order.spec).includes(control.secret))
  const box = openSealed(room.keys.privateKey, Buffer.from(order.secret ?? '', 'base64'), `order/${order.jobId}`)
  t.deepEqual(JSON.parse(box.toString()), { chapSecret: control.secret })
  t.is(await secrets(), 1)
  t.like(await get(id), { status: 'creating', jobId: order.jobId })
  await room.succeed(order.jobId, MADE)
  t.like(await get(id), { status: 'available', sizeBytes: 2 * GIB, failReason: null })
  await settle()
  await isWoundUp(source.id)
  t.deepEqual(
    lines.filter((line) => !line.startsWith('GET')),
    [
      'POST /v3/red/snapshots',
      'POST /v3/red/volumes',
      'POST /v3/red/volumes/:id/action os-initialize_connection',
      'POST /v3/red/volumes/:id/action os-terminate_connection',
      'DELETE /v3/red/volumes/:id',
      'DELETE /v3/red/snapshots/:id',
    ],
  )
  await lentVolumes.update(OPERATOR, TOKEN, id)
  await t.throwsAsync(lentVolumes.update(OPERATOR, TOKEN, id), fault('conflict', /still being made/))
  await done({ ...MADE, full: false })
  const { points, status } = await get(id)
  t.deepEqual([points.length, status], [2, 'available'])
  t.deepEqual((await room.points.get(ADMIN, points[1] ?? '')).chain, [points[0] ?? ''])
  await isWoundUp(source.id)
})

test.serial(
  'whatever answer is lost, and wherever the replica dies, there is one of everything, and then none',
  async (t) => {
    const { lines, volume, backUp, get, done, isWoundUp, control } = await open(t)
    const source = volume()
    const seen = new Set<string>()
    // Each request that changes something: done, and its answer lost, once; then refused once by a server that is not well.
    control.fault = (line) => {
      if (line.startsWith('GET')) return undefined
      if (!seen.has(line)) {
        seen.add(line)
        return 'lost'
      }
      if (seen.has(`${line} again`)) return undefined
      seen.add(`${line} again`)
      return 503
    }
    const id = await backUp(source)
    await done()
    t.like(await get(id), { status: 'available', failReason: null })
    await isWoundUp(source.id)
    const made = (what: string) => lines.filter((line) => line === `POST /v3/red/${what}`).length
    t.deepEqual([made('snapshots'), made('volumes')], [1, 1])
  },
)

test.serial('what comes to nothing there is an error of the backup, and is given back', async (t) => {
  const { volume, backUp, get, settle, done, isWoundUp, control, lentVolumes, volumeBackups, things } = await open(t)
  const source = volume()
  control.becomes = ({ volumeId }) => (volumeId === undefined ? 'error' : 'available')
  const id = await backUp(source)
  await settle()
  t.like(await get(id), {
    status: 'error',
    failReason: "the volume of the snapshot is 'error' in the block service",
    points: [],
  })
  await isWoundUp(source.id)
  control.becomes = () => 'available'
  await lentVolumes.update(OPERATOR, TOKEN, id)
  t.like(await get(id), { status: 'creating', failReason: null })
  await done()
  t.like(await get(id), { status: 'available', failReason: null })

  // One that nobody wants any more, while it is only borrowed for.
  await lentVolumes.update(OPERATOR, TOKEN, id)
  await volumeBackups.delete(OPERATOR, id)
  await settle()
  t.is((await get(id)).status, 'deleting')
  await isWoundUp(source.id)

  const gone = await backUp(source)
  things.volumes.delete(source.id)
  control.fault = (line) => (line === 'POST /v3/red/snapshots' ? 404 : undefined)
  await settle()
  t.regex((await get(gone)).failReason ?? '', /answered 404: as the test says/)
  await isWoundUp()
})

test.serial('a backup becomes a new volume there, which nobody has before it is whole', async (t) => {
  const { volume, backUp, get, settle, job, done, isWoundUp, lentVolumes, things, lines, control } = await open(t)
  const source = volume()
  const id = await backUp(source)
  await done()
  const wish = { backupId: id, words: { name: 'again', metadata: { tier: 'gold' } } }
  await t.throwsAsync(lentVolumes.restore(OPERATOR, TOKEN, { ...wish, sizeGib: 0 }), fault('invalid', /at least 1/))
  lines.length = 0
  const { id: made } = await lentVolumes.restore(OPERATOR, TOKEN, { ...wish, sizeGib: 3 })
  const thing = things.volumes.get(made)
  t.like(thing, { name: 'again', size: 3, metadata: { tier: 'gold' } })
  t.truthy(thing?.metadata[LOAN_MARK])
  t.is((await get(id)).status, 'restoring')
  await settle()
  t.is(thing?.status, 'attaching')
  const { spec } = await room.sent(await job())
  t.like(spec, { kind: 'lun.restore', sizeBytes: 3 * GIB, pointId: (await get(id)).points[0] })
  await room.succeed(await job(), { bytes: 1 })
  t.like(await get(id), { status: 'available', failReason: null })
  await settle()
  t.is(things.volumes.get(made)?.status, 'available')
  await isWoundUp(source.id, made)

  // One that fails is deleted: nobody takes half of it for the whole.
  const failing = await lentVolumes.restore(OPERATOR, TOKEN, wish)
  await settle()
  await room.fail(await job(), { code: 'unavailable', message: 'the portal is silent' })
  t.like(await get(id), { status: 'available', failReason: 'the restore failed: the portal is silent' })
  await settle()
  t.false(things.volumes.has(failing.id))
  await isWoundUp(source.id, made)

  // One that the service made, and never told of: found by its mark.
  control.fault = (line) => (line === 'POST /v3/red/volumes' ? 'lost' : undefined)
  await t.throwsAsync(lentVolumes.restore(OPERATOR, TOKEN, wish), fault('unavailable'))
  t.is(things.volumes.size, 3)
  await settle()
  await isWoundUp(source.id, made)
  // One that it refused: nothing has happened.
  control.fault = (line) => (line === 'POST /v3/red/volumes' ? 413 : undefined)
  await t.throwsAsync(lentVolumes.restore(OPERATOR, TOKEN, wish), fault('no_space', /413/))
  t.is((await get(id)).status, 'available')
  await isWoundUp(source.id, made)
})

test.serial(
  'a caller has what is of the project that its token names, and of the group that stands for it',
  async (t) => {
    const { volume, backUp, lentVolumes, groups, volumeBackups, done } = await open(t)
    const [own, others] = [volume(), volume({ project: 'blue' })]
    await t.throwsAsync(backUp(others), fault('not_found'))
    await t.throwsAsync(backUp({ id: 'nothing' }), fault('not_found'))
    const blue = await room.group('blue')
    groups.set('blue', blue)
    const asBlue = { name: 'x', volume: own.id }
    // Another's token, and another's volume with the right one.
    await t.throwsAsync(lentVolumes.backUp(OPERATOR, 'me:blue', asBlue), fault('forbidden'))
    await t.throwsAsync(lentVolumes.backUp(room.tenant(blue), 'me:blue', asBlue), fault('not_found'))
    await t.throwsAsync(lentVolumes.backUp({ ...OPERATOR, role: 'viewer' }, TOKEN, asBlue), fault('forbidden'))
    const id = await backUp(own)
    await done()
    await t.throwsAsync(lentVolumes.update(room.tenant(blue), 'me:blue', id), fault('not_found'))
    await t.throwsAsync(
      lentVolumes.restore(room.tenant(blue), 'me:blue', { backupId: id, words: {} }),
      fault('not_found'),
    )
    await t.throwsAsync(volumeBackups.update(OPERATOR, id), fault('conflict', /token of its own/))
    const { jobId } = await room.points.verify(ADMIN, (await volumeBackups.get(OPERATOR, id)).points[0] ?? '')
    await room.succeed(jobId, { files: 1, bytes: 1 })
  },
)

test.serial('what is in use is backed up by force, or of a snapshot; a job of a LUN is not tried again', async (t) => {
  const { volume, keep, backUp, get, settle, job, isWoundUp, things } = await open(t)
  const source = volume({ status: 'in-use' })
  await t.throwsAsync(backUp(source), fault('conflict', /with force/))
  const snapshot = keep('snapshots', { project: PROJECT, name: 'mine', volumeId: source.id })
  await t.throwsAsync(backUp(source, { snapshot: newId() }), fault('not_found'))
  await t.throwsAsync(backUp(volume(), { snapshot: snapshot.id }), fault('invalid'))
  things.volumes.delete([...things.volumes.keys()].at(-1) ?? '')
  const id = await backUp(source, { snapshot: snapshot.id })
  await settle()
  const jobId = await job()
  await room.fail(jobId, { code: 'no_space', message: 'the target is full' })
  await t.throwsAsync(room.jobs.retry(ADMIN, jobId), fault('refused', /update the backup/))
  t.like(await get(id), { status: 'error', failReason: 'the target is full', snapshotId: snapshot.id })
  await settle()
  await isWoundUp(source.id)
  t.true(things.snapshots.has(snapshot.id))
})

test.serial('a volume there goes back to its newest snapshot, while nobody has it', async (t) => {
  const { volume, keep, lentVolumes, lines } = await open(t)
  const source = volume()
  const [old, newest] = [1, 2].map(() => keep('snapshots', { project: PROJECT, name: 's', volumeId: source.id }))
  const rollback = (snapshot = '') => lentVolumes.rollback(OPERATOR, TOKEN, source.id, snapshot)
  await t.throwsAsync(rollback(newId()), fault('not_found'))
  await t.throwsAsync(rollback(old?.id), fault('conflict', /newest snapshot alone/))
  source.status = 'in-use'
  await t.throwsAsync(rollback(newest?.id), fault('conflict', /must be detached/))
  source.status = 'available'
  await rollback(newest?.id)
  t.is(lines.at(-1), 'POST /v3/red/volumes/:id/action revert')
})
