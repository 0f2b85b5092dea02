import test from 'ava'
import { createBlockConnections } from '../control-plane/core/block-connections.ts'
import { BLOCK_SORT_KEYS, type BlockOrder, type BlockVolumes } from '../control-plane/core/block-volumes.ts'
import { type Caller, DEFAULT_GROUP_ID } from '../control-plane/core/caller.ts'
import type { Jobs } from '../control-plane/core/jobs.ts'
import { openBlock } from '../control-plane/open-block.ts'
import { FleetError } from '../shared/errors.ts'
import { ADMIN, OPERATOR } from './harness/point-room.ts'
import { until } from './harness/until.ts'
import { GIB, openVolumeRoom, type VolumeRoom } from './harness/volume-room.ts'

const PAGE = { limit: 100 }
const SERVER = '11111111-2222-4333-8444-555555555555'
/** An instance that stands still, and one of another group. */
const STILL = '11111111-2222-4333-8444-666666666666'
const FOREIGN = '11111111-2222-4333-8444-777777777777'
const SERVERS = new Map([
  [STILL, { groupId: DEFAULT_GROUP_ID, isStopped: true }],
  [FOREIGN, { groupId: STILL, isStopped: true }],
])
const NEVER = new AbortController().signal

const cleanUps: (() => unknown)[] = []
let room: VolumeRoom
let block: ReturnType<typeof openBlock>
test.before(async () => {
  room = await openVolumeRoom({ teardown: (act) => void cleanUps.push(act) })
  const absent = async () => {
    throw new FleetError('not_found', 'there are no backups here')
  }
  block = openBlock({
    ...{ sql: room.sql, volumes: room.volumes, exports: lent(room), jobs: settled, fleet: room.registry },
    secrets: { open: async () => Buffer.from('{}') },
    backups: { get: absent, restore: absent },
    servers: { find: async (id) => SERVERS.get(id) },
  })
})
test.after.always(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp()
})
test.beforeEach(async () => {
  await room.forget()
  for (const table of ['block_volume', 'block_snapshot']) await room.db.query(`delete from ${table}`)
})

type Asked = Parameters<BlockVolumes['create']>[1]

async function volume(given: Asked = {}, caller: Caller = OPERATOR) {
  const asked = { sizeGib: 1, pool: 'a-pool', ...given }
  const { jobId, volume: made } = await block.blockVolumes.create(caller, asked)
  await room.succeed(jobId, room.made({ pool: 'a-pool', volume: `volume-${made.id}` }))
  return block.blockVolumes.get(caller, made.id)
}

async function snapshot(volumeId: string, given: { readonly force?: boolean; readonly name?: string } = {}) {
  const { jobId, snapshot: made } = await block.blockSnapshots.create(OPERATOR, { volumeId, ...given })
  await room.succeed(jobId, { guid: `s-${made.id}`, sizeBytes: GIB })
  return block.blockSnapshots.get(OPERATOR, made.id)
}

/** The newest job about the volume that is of this kind. */
async function jobOf(kind: string): Promise<string> {
  const [row] = await room.db.query('select id from job where kind = $1 order by created_at desc, id desc limit 1', [
    kind,
  ])
  return row.id
}

/** The one of this kind that is open, as soon as it is. */
function openJob(kind: string): Promise<string> {
  return until(`a ${kind} is open`, async () => {
    const [row] = await room.db.query('select id from job where kind = $1 and finished_at is null', [kind])
    return row?.id
  })
}

/** Nothing tells this process of ends. */
const settled: Pick<Jobs, 'settled'> = {
  settled: (id) => until('it ends', async () => (await room.jobs.get(ADMIN, id)).state === 'succeeded'),
}

const statusOf = async (id: string) => (await block.blockVolumes.get(OPERATOR, id)).status

test.serial('a volume has the words that it was given, and the state that its job is in', async (t) => {
  const { blockVolumes } = block
  const words = { name: 'data', description: 'of the shop', metadata: { tier: 'gold' } }
  const { jobId, volume: made } = await blockVolumes.create(OPERATOR, { ...words, sizeGib: 2, pool: 'a-pool' })
  t.like(made, {
    ...words,
    status: 'creating',
    sizeGib: 2,
    path: `a-pool/volume-${made.id}`,
    host: 'a',
    attachments: [],
  })
  t.like((await room.sent(jobId)).spec, { sizeBytes: 2 * GIB, volumeId: made.id })
  await room.succeed(jobId, { ...room.made({ pool: 'a-pool', volume: `volume-${made.id}` }), sizeBytes: 2 * GIB })
  t.is(await statusOf(made.id), 'available')

  const before = await blockVolumes.get(OPERATOR, made.id)
  const named = await blockVolumes.update(
    OPERATOR,
    made.id,
    { name: 'other' },
    ({ version }) => version === before.version,
  )
  t.like(named, { name: 'other', description: 'of the shop' })
  t.true(named.version > before.version)
  await t.throwsAsync(
    blockVolumes.update(OPERATOR, made.id, { name: 'late' }, ({ version }) => version === before.version),
    { code: 'stale' },
  )
  t.like(await blockVolumes.setMetadata(OPERATOR, made.id, { a: '1' }, false), { metadata: { tier: 'gold', a: '1' } })
  t.like(await blockVolumes.deleteMetadata(OPERATOR, made.id, 'tier'), { metadata: { a: '1' } })
  t.deepEqual((await blockVolumes.setMetadata(OPERATOR, made.id, { b: '2' }, true)).metadata, { b: '2' })
  await t.throwsAsync(blockVolumes.deleteMetadata(OPERATOR, made.id, 'a'), { code: 'not_found' })

  await t.throwsAsync(blockVolumes.extend(OPERATOR, made.id, 2), { code: 'invalid', message: /more than 2/ })
  const larger = await blockVolumes.extend(OPERATOR, made.id, 3)
  t.is(await statusOf(made.id), 'extending')
  await t.throwsAsync(blockVolumes.reserve(OPERATOR, made.id), { code: 'conflict', message: /'extending'/ })
  await room.succeed(larger.jobId, { ...room.made({ pool: 'a-pool', volume: 'x' }), sizeBytes: 3 * GIB })
  t.like(await blockVolumes.get(OPERATOR, made.id), { status: 'available', sizeGib: 3 })

  await blockVolumes.delete(OPERATOR, made.id, false)
  t.is(await statusOf(made.id), 'deleting')
  await room.fail(await jobOf('volume.delete'), { code: 'conflict', message: 'held' })
  t.is(await statusOf(made.id), 'error_deleting')
  await blockVolumes.delete(OPERATOR, made.id, false)
  await room.succeed(await jobOf('volume.delete'))
  await t.throwsAsync(blockVolumes.get(OPERATOR, made.id), { code: 'not_found' })
  t.deepEqual(await room.db.query('select * from block_volume'), [])
})

test.serial('what could not be made is told of until it is deleted', async (t) => {
  const { blockVolumes, blockSnapshots } = block
  const { jobId, volume: made } = await blockVolumes.create(OPERATOR, { name: 'x', sizeGib: 1, pool: 'a-pool' })
  await room.fail(jobId, { code: 'no_space', message: 'full' })
  t.like(await blockVolumes.get(OPERATOR, made.id), { status: 'error', name: 'x', host: 'a', pool: 'a-pool' })
  await t.throwsAsync(blockVolumes.reserve(OPERATOR, made.id), { code: 'conflict' })
  t.is((await blockVolumes.list(OPERATOR, { status: 'error' }, PAGE)).items.length, 1)
  await blockVolumes.delete(OPERATOR, made.id, false)
  t.deepEqual((await blockVolumes.list(OPERATOR, {}, PAGE)).items, [])

  const { id } = await volume()
  const asked = await blockSnapshots.create(OPERATOR, { volumeId: id, name: 's' })
  await room.fail(asked.jobId, { code: 'no_space', message: 'full' })
  t.like(await blockSnapshots.get(OPERATOR, asked.snapshot.id), { status: 'error', name: 's' })
  // It stands in nobody's way.
  await blockVolumes.delete(OPERATOR, id, false)
  await room.succeed(await jobOf('volume.delete'))
  t.deepEqual((await blockSnapshots.list(OPERATOR, {}, PAGE)).items, [])

  // A retry of the job is a retry of the volume.
  const again = await blockVolumes.create(OPERATOR, { name: 'y', sizeGib: 1, pool: 'a-pool' })
  await room.fail(again.jobId, { code: 'busy', message: 'later' })
  const retried = await room.jobs.retry(OPERATOR, again.jobId)
  t.is(await statusOf(again.volume.id), 'creating')
  await room.succeed(retried.id, room.made({ pool: 'a-pool', volume: `volume-${again.volume.id}` }))
  t.like(await blockVolumes.get(OPERATOR, again.volume.id), { status: 'available', name: 'y' })
})

test.serial('snapshots, clones of them and of volumes, and what they stand in the way of', async (t) => {
  const { blockVolumes, blockSnapshots } = block
  const source = await volume({ name: 'base' })
  const kept = await snapshot(source.id, { name: 'first' })
  t.like(kept, { status: 'available', volumeId: source.id, sizeGib: 1, name: 'first' })
  await t.throwsAsync(blockVolumes.create(OPERATOR, { snapshotId: kept.id, sourceVolumeId: source.id }), {
    message: /made of one thing/,
  })
  const clone = await blockVolumes.create(OPERATOR, { snapshotId: kept.id, sizeGib: 4 })
  t.like((await room.sent(clone.jobId)).spec, { kind: 'volume.clone', sizeBytes: 4 * GIB })
  await room.succeed(clone.jobId, { ...room.made({ pool: 'a-pool', volume: 'c' }), sizeBytes: 4 * GIB })
  t.like(await blockVolumes.get(OPERATOR, clone.volume.id), { snapshotId: kept.id, sizeGib: 4, status: 'available' })
  await t.throwsAsync(blockSnapshots.delete(OPERATOR, kept.id), { code: 'conflict', message: /needed by volume/ })
  await t.throwsAsync(blockVolumes.delete(OPERATOR, source.id, false), { code: 'conflict' })
  t.is(await statusOf(source.id), 'available')

  const copying = blockVolumes.create(OPERATOR, { sourceVolumeId: source.id })
  await room.succeed(await openJob('volume.snapshot'), { guid: 'c', sizeBytes: GIB })
  const copy = await copying
  t.like((await room.sent(copy.jobId)).spec, { discardSource: true })
  await room.succeed(copy.jobId, room.made({ pool: 'a-pool', volume: 'copy' }))
  t.like(await blockVolumes.get(OPERATOR, copy.volume.id), { sourceVolumeId: source.id, status: 'available' })
  // The one that the copy rests on is the fleet's own.
  t.deepEqual(
    (await blockSnapshots.list(OPERATOR, { volumeId: source.id }, PAGE)).items.map(({ id }) => id),
    [kept.id],
  )
  // Where a clone can do without, that goes with its job.
  const parting = blockVolumes.create(OPERATOR, { sourceVolumeId: source.id })
  await room.succeed(await openJob('volume.snapshot'), { guid: 'p', sizeBytes: GIB })
  const parted = await parting
  const before = await room.rows('volume_snapshot')
  const told = { ...room.made({ pool: 'a-pool', volume: 'parted' }), isParted: true, isSourceGone: true }
  await room.succeed(parted.jobId, told)
  const gone = `a-pool/volume-${source.id}@clone-${parted.volume.id} available`
  t.deepEqual(
    await room.rows('volume_snapshot'),
    before.filter((row) => row !== gone),
  )
  t.true(before.includes(gone))
  t.is((await room.volumes.get(ADMIN, parted.volume.path)).origin, null)
  for (const { id } of [clone.volume, copy.volume, parted.volume]) {
    await blockVolumes.delete(OPERATOR, id, false)
    await room.succeed(await jobOf('volume.delete'))
  }
  await blockVolumes.delete(OPERATOR, source.id, true)
  const rows = await room.db.query(
    `select id from job where kind = 'volume.delete' and finished_at is null order by ordinal`,
  )
  t.is(rows.length, 3)
  for (const { id } of rows) await room.succeed(id)
  t.deepEqual([await room.rows('volume'), await room.rows('volume_snapshot')], [[], []])
  t.deepEqual(await room.db.query('select * from block_snapshot'), [])
})

test.serial(
  'one at a time has a volume, and what is attached is not deleted, extended or snapshotted unasked',
  async (t) => {
    const { blockVolumes, blockSnapshots } = block
    const { id } = await volume()
    const racing = await Promise.allSettled([1, 2, 3, 4].map(() => blockVolumes.reserve(OPERATOR, id)))
    t.is(racing.filter(({ status }) => status === 'fulfilled').length, 1)
    t.is(await statusOf(id), 'attaching')
    await blockVolumes.unreserve(OPERATOR, id)
    await blockVolumes.reserve(OPERATOR, id)
    await t.throwsAsync(blockVolumes.attach(OPERATOR, id, { instanceId: FOREIGN }), { code: 'not_found' })
    await blockVolumes.attach(OPERATOR, id, { instanceId: SERVER, mountpoint: '/dev/vdb' })
    const attached = await blockVolumes.get(OPERATOR, id)
    t.like(attached, { status: 'in-use', attachments: [{ instanceId: SERVER, mountpoint: '/dev/vdb', mode: 'rw' }] })
    for (const refused of [
      () => blockVolumes.attach(OPERATOR, id, { hostName: 'b' }),
      () => blockVolumes.delete(OPERATOR, id, true),
      () => blockSnapshots.create(OPERATOR, { volumeId: id }),
      () => blockVolumes.setFlags(OPERATOR, id, { readonly: true }),
    ]) {
      t.is((await t.throwsAsync<FleetError>(refused()))?.code, 'conflict')
    }
    const needed = await t.throwsAsync<FleetError>(room.volumes.delete(OPERATOR, attached.path))
    t.deepEqual(needed?.blockers, [`server ${SERVER}`])
    await snapshot(id, { force: true })
    await blockVolumes.beginDetaching(OPERATOR, id)
    t.is(await statusOf(id), 'detaching')
    await blockVolumes.rollDetaching(OPERATOR, id)
    t.is(await statusOf(id), 'in-use')
    await t.throwsAsync(blockVolumes.detach(OPERATOR, id, SERVER), { code: 'not_found' })
    await blockVolumes.detach(OPERATOR, id, attached.attachments[0]?.id)
    t.like(await blockVolumes.get(OPERATOR, id), { status: 'available', attachments: [] })
    await blockVolumes.setFlags(OPERATOR, id, { readonly: true, bootable: true })
    await blockVolumes.attach(OPERATOR, id, { hostName: 'b' })
    t.like(await blockVolumes.get(OPERATOR, id), { isBootable: true, attachments: [{ hostName: 'b', mode: 'ro' }] })
  },
)

test.serial('a claim that its process did not live to give up ends by itself', async (t) => {
  const { id } = await volume()
  await room.db.query(`update block_volume set claim = 'deleting', claimed_until = now() + interval '1 minute'`)
  t.is(await statusOf(id), 'deleting')
  await t.throwsAsync(block.blockVolumes.reserve(OPERATOR, id), { code: 'conflict' })
  await room.db.query('update block_volume set claimed_until = now()')
  t.is(await statusOf(id), 'available')
})

test.serial('lists are newest first, page by page, and everybody has their own', async (t) => {
  const { blockVolumes } = block
  const tenant = room.tenant(await room.group('block-1'))
  const ids: string[] = []
  for (const name of ['a', 'b', 'c', 'd']) ids.push((await volume({ name, metadata: { name, all: 'x' } })).id)
  const failed = await blockVolumes.create(OPERATOR, { name: 'e', sizeGib: 1, pool: 'a-pool' })
  await room.fail(failed.jobId, { code: 'no_space', message: 'full' })
  ids.push(failed.volume.id)
  const own = await volume({ name: 'a' }, tenant)
  await room.volume('fleet/made', OPERATOR)
  const seen: string[] = []
  let cursor: string | undefined
  do {
    const page = await blockVolumes.list(OPERATOR, {}, { limit: 2, ...(cursor ? { cursor } : {}) })
    seen.push(...page.items.map(({ name }) => name ?? ''))
    cursor = page.nextCursor ?? undefined
  } while (cursor !== undefined)
  t.deepEqual(seen, ['fleet/made', 'e', 'd', 'c', 'b', 'a'])
  const named = async (filter: Parameters<BlockVolumes['list']>[1], caller = OPERATOR) =>
    (await blockVolumes.list(caller, filter, PAGE)).items.map(({ name }) => name)
  t.deepEqual(await named({ metadata: { all: 'x', name: 'b' } }), ['b'])
  t.deepEqual(await named({ name: 'a' }), ['a'])
  t.deepEqual(await named({}, tenant), ['a'])
  t.is((await named({}, ADMIN)).length, 7)
  await t.throwsAsync(blockVolumes.list(tenant, {}, { limit: 1, cursor: ids[0] }), { code: 'invalid' })
  await t.throwsAsync(blockVolumes.list(tenant, {}, { limit: 1, cursor: 'x' }), { code: 'invalid' })
  const [first = ''] = ids
  for (const refused of [
    () => blockVolumes.get(tenant, first),
    () => blockVolumes.delete(tenant, first, true),
    () => blockVolumes.reserve(tenant, first),
    () => blockVolumes.create(tenant, { sourceVolumeId: first }),
    () => blockVolumes.initializeConnection(tenant, first, { initiator: 'iqn.2026-01.test:a' }, NEVER),
    () => block.blockSnapshots.create(tenant, { volumeId: first }),
    () => blockVolumes.get(OPERATOR, own.id),
    () => blockVolumes.get(OPERATOR, 'a-pool/fleet/made'),
  ]) {
    t.is((await t.throwsAsync<FleetError>(refused()))?.code, 'not_found')
  }
  const sorted = async (key: BlockOrder['key'], isAscending: boolean, given: object = {}) =>
    (await blockVolumes.list(OPERATOR, {}, { ...PAGE, ...given, order: { key, isAscending } })).items.map((v) => v.name)
  t.deepEqual(await sorted('created_at', true), seen.toReversed())
  t.deepEqual(await sorted('name', true), ['a', 'b', 'c', 'd', 'e', 'fleet/made'])
  t.deepEqual(await sorted('name', true, { limit: 2, cursor: ids[1], offset: 1 }), ['d', 'e'])
  t.deepEqual(await sorted('created_at', false, { limit: 2, offset: 3 }), ['c', 'b'])
  t.is((await sorted('status', false))[0], 'e')
  for (const key of BLOCK_SORT_KEYS) t.is((await sorted(key, false)).length, 6, key)
  const counted = await blockVolumes.list(OPERATOR, { metadata: { all: 'x' } }, { limit: 1, isCounted: true })
  t.is(counted.count, 4)
  const [{ createdAt }] = [await blockVolumes.get(OPERATOR, first)]
  const during = { gte: createdAt, lt: new Date(createdAt.getTime() + 1) }
  t.true((await named({ created: during })).includes('a'))
  t.deepEqual(await named({ created: { lt: createdAt } }), [])
  t.deepEqual(await named({ isBootable: true }), [])
  t.deepEqual(await blockVolumes.summary({ ...OPERATOR, fleetRole: null }), {
    ...{ count: 6, sizeGib: 6, metadata: { all: ['x'], name: ['a', 'b', 'c', 'd'] } },
  })
  // An admin of the fleet works on it for the group that has it.
  t.like(await blockVolumes.update(ADMIN, own.id, { name: 'admin was here' }), { groupId: tenant.groupId })
})

test.serial('a volume goes back to its newest snapshot only; those of the fleet itself do not count', async (t) => {
  const { blockVolumes } = block
  const { id } = await volume()
  const [old, last] = [await snapshot(id), await snapshot(id)]
  await t.throwsAsync(blockVolumes.revert(OPERATOR, id, old.id, 'latest'), { code: 'conflict', message: /newest/ })
  await t.throwsAsync(blockVolumes.revert(OPERATOR, id, id, 'any'), { code: 'not_found' })
  const { jobId } = await blockVolumes.revert(OPERATOR, id, last.id, 'latest')
  t.is(await statusOf(id), 'reverting')
  const { spec } = await room.sent(jobId)
  t.like(spec, { kind: 'volume.rollback', place: { snapshot: last.path.split('@')[1] } })
  const volumeMade = room.made({ pool: 'a-pool', volume: `volume-${id}` })
  await room.succeed(jobId, { volume: volumeMade, safety: { guid: 'safe', sizeBytes: GIB } })
  t.is(await statusOf(id), 'available')
  const again = await blockVolumes.revert(OPERATOR, id, last.id, 'latest')
  await room.fail(again.jobId, { code: 'conflict', message: 'in use' })
  t.is(await statusOf(id), 'available')

  await blockVolumes.attach(OPERATOR, id, { instanceId: SERVER })
  await t.throwsAsync(blockVolumes.revert(OPERATOR, id, last.id, 'latest'), { code: 'conflict' })
  await t.throwsAsync(blockVolumes.revert(OPERATOR, id, old.id, 'any'), {
    code: 'conflict',
    message: /not known to be/,
  })
  await blockVolumes.detach(OPERATOR, id)
  await blockVolumes.attach(OPERATOR, id, { instanceId: STILL })
  const back = await blockVolumes.revert(OPERATOR, id, old.id, 'any')
  t.is(await statusOf(id), 'reverting')
  await room.succeed(back.jobId, { volume: volumeMade, safety: { guid: 'safer', sizeBytes: GIB } })
  t.is(await statusOf(id), 'in-use')
})

test.serial('a connection is an export to its initiator alone, with a secret of its own', async (t) => {
  const { id, path } = await volume()
  const initiator = 'iqn.2026-01.test:node1'
  const secret = 'kept as it was'
  const connections = createBlockConnections({
    exports: lent(room),
    exportReader: { find: async (_group, wwn) => room.exports.get(OPERATOR, wwn).catch(() => undefined) },
    jobs: settled,
    secretOf: async () => secret,
  })
  const connecting = connections.initialize(OPERATOR, { id, path }, { initiator }, NEVER)
  await room.exported(await openJob('export.create'))
  const made = await connecting
  t.like(made, { targetIqn: `iqn.2026-01.org.holdfast:volume-${id}`, portal: LIVE.portal, lun: LIVE.lun })
  t.regex(made.auth?.password ?? '', /^[\w-]{16}$/)
  const { id: contested, path: at } = await volume()
  const rivals = ['a', 'b'].map((name) =>
    connections.initialize(OPERATOR, { id: contested, path: at }, { initiator: `iqn.2026-01.test:${name}` }, NEVER),
  )
  const ending = Promise.allSettled(rivals)
  await room.exported(await openJob('export.create'))
  t.deepEqual((await ending).map(({ status }) => status).toSorted(), ['fulfilled', 'rejected'])

  const kept = await room.exports.get(OPERATOR, made.targetIqn)
  t.like(kept, { initiators: [initiator], chapUser: made.auth?.username ?? '', volume: path })
  const again = await connections.initialize(OPERATOR, { id, path }, { initiator: initiator.toUpperCase() }, NEVER)
  t.deepEqual(again.auth, { username: made.auth?.username ?? '', password: secret })
  const other = { initiator: 'iqn.2026-01.test:node2' }
  await t.throwsAsync(connections.initialize(OPERATOR, { id, path }, other, NEVER), { code: 'conflict' })
  await connections.terminate(OPERATOR, { id, path }, other, NEVER)
  t.is((await room.exports.get(OPERATOR, made.targetIqn)).state, 'available')
  await t.throwsAsync(connections.initialize(OPERATOR, { id, path }, { initiator: 'node1' }, NEVER), {
    code: 'invalid',
  })
})

test.serial('an attachment is reserved, connected, in use, and gone with its connection', async (t) => {
  const { blockVolumes, blockAttachments } = block
  const { id: volumeId } = await volume()
  const tenant = room.tenant(await room.group('block-2'))
  const at = { initiator: 'iqn.2026-01.test:node1', host: 'node1', mountpoint: '/dev/vdb' }
  const reserve = (given: object = {}) => blockAttachments.create(OPERATOR, { volumeId, ...given }, NEVER)
  const racing = await Promise.allSettled([1, 2, 3].map(() => reserve({ instanceId: SERVER })))
  // One server may have several, which it needs to go elsewhere.
  t.is(racing.filter(({ status }) => status === 'fulfilled').length, 3)
  const all = (await blockAttachments.list(OPERATOR, { volumeId, state: 'reserved' }, { limit: 2 })).items
  t.is(all.length, 2)
  t.is(await statusOf(volumeId), 'reserved')
  const [id = '', other = ''] = all.map((one) => one.id)
  const rest = await blockAttachments.list(OPERATOR, { volumeId }, { limit: 2, cursor: other })
  t.deepEqual([rest.items.length, rest.nextCursor], [1, null])
  const isOther = () => false
  for (const act of [
    () => blockAttachments.delete(OPERATOR, id, NEVER, isOther),
    () => blockAttachments.connect(OPERATOR, id, at, NEVER, isOther),
  ])
    await t.throwsAsync(act, { code: 'stale' })
  await blockAttachments.delete(OPERATOR, rest.items[0]?.id ?? '', NEVER)
  for (const refused of [
    () => reserve({ instanceId: STILL }),
    () => reserve(),
    () => blockAttachments.complete(OPERATOR, id),
    () => blockVolumes.delete(OPERATOR, volumeId, false),
    () => blockVolumes.reserve(OPERATOR, volumeId),
    () => blockVolumes.attach(OPERATOR, volumeId, { hostName: 'b' }),
  ]) {
    t.is((await t.throwsAsync<FleetError>(refused()))?.code, 'conflict')
  }
  for (const refused of [
    () => reserve({ instanceId: FOREIGN }),
    () => blockAttachments.get(tenant, id),
    () => blockAttachments.connect(tenant, id, at, NEVER),
    () => blockAttachments.delete(tenant, id, NEVER),
    () => blockAttachments.create(tenant, { volumeId }, NEVER),
  ]) {
    t.is((await t.throwsAsync<FleetError>(refused()))?.code, 'not_found')
  }
  t.deepEqual((await blockAttachments.list(tenant, {}, PAGE)).items, [])

  const connecting = blockAttachments.connect(OPERATOR, id, { ...at, mode: 'ro' }, NEVER)
  const made = await openJob('export.create')
  t.like((await room.sent(made)).spec, { elements: [{ access: { initiators: [at.initiator], isReadonly: true } }] })
  t.is(await statusOf(volumeId), 'reserved')
  await room.exported(made)
  const { attachment, secret } = await connecting
  t.like(attachment, { state: 'attaching', mode: 'ro', hostName: 'node1', mountpoint: '/dev/vdb', instanceId: SERVER })
  t.like(attachment.connection, { targetIqn: `iqn.2026-01.org.holdfast:volume-${volumeId}`, portal: LIVE.portal })
  t.regex(secret ?? '', /^[\w-]{16}$/)
  t.is(await statusOf(volumeId), 'attaching')
  const elsewhere = { initiator: 'iqn.2026-01.test:node2', mode: 'ro' } as const
  await t.throwsAsync(blockAttachments.connect(OPERATOR, other, elsewhere, NEVER), { code: 'conflict' })
  await t.throwsAsync(blockAttachments.connect(OPERATOR, id, elsewhere, NEVER), { code: 'conflict' })
  await t.throwsAsync(blockAttachments.connect(OPERATOR, other, { ...at, mode: 'rw' }, NEVER), {
    code: 'conflict',
    message: /to be read; end that/,
  })
  t.like((await blockAttachments.get(OPERATOR, other)).attachment, { state: 'reserved', initiator: null, mode: 'rw' })
  await blockAttachments.complete(OPERATOR, id)
  await blockAttachments.complete(OPERATOR, id)
  t.is(await statusOf(volumeId), 'in-use')
  t.like((await blockAttachments.get(OPERATOR, id)).attachment, { state: 'attached', connection: { lun: LIVE.lun } })

  // The other one is of the same initiator in the end, so that one is not shut out yet.
  const joining = blockAttachments.connect(OPERATOR, other, { ...at, mode: 'ro' }, NEVER)
  await room.exported(await openJob('export.create'))
  t.is((await joining).attachment.state, 'attaching')
  const left = await blockAttachments.delete(OPERATOR, id, NEVER)
  t.deepEqual(
    left.map((one) => one.id),
    [other],
  )
  const ending = blockAttachments.delete(OPERATOR, other, NEVER)
  await room.unexported(await openJob('export.delete'))
  t.deepEqual(await ending, [])
  t.is(await statusOf(volumeId), 'available')

  // What cannot be connected leaves nothing behind.
  const failing = reserve({ connector: at })
  await room.exported(await openJob('export.create'), { 0: 'unavailable' })
  await t.throwsAsync(failing, { code: 'unavailable' })
  t.deepEqual((await blockAttachments.list(OPERATOR, {}, PAGE)).items, [])
  t.is(await statusOf(volumeId), 'available')
})

/** Exports that their host tells of. */
function lent({ exports }: VolumeRoom): VolumeRoom['exports'] {
  return { ...exports, get: async (caller, wwn) => ({ ...(await exports.get(caller, wwn)), live: LIVE }) }
}

const LIVE = { portal: '192.0.2.1:3260', lun: 1, sessions: [] } as const
