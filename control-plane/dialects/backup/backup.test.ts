import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { fakeInstanceBackup, fakeInstanceSnapshot } from '../../../test/harness/fake-captures.ts'
import { fakeInstance } from '../../../test/harness/fake-instances.ts'
import { startListener } from '../../../test/harness/fake-listener.ts'
import { fakeVolumeBackup } from '../../../test/harness/fake-volume-backups.ts'
import { fakeVolume } from '../../../test/harness/fake-volumes.ts'
import { readExchanges, replay } from '../../../test/harness/replay.ts'
import { DEFAULT_GROUP_ID } from '../../core/caller.ts'
import { backup } from './dialect.ts'

const PATH = '/v1/volume/backup'

async function open(t: ExecutionContext) {
  const listener = await startListener(t)
  const { fake } = listener
  const volume = fakeVolume({ groupId: DEFAULT_GROUP_ID })
  fake.volumes.set('tank/a', volume)
  function keep(given: Parameters<typeof fakeVolumeBackup>[0]) {
    const kept = fakeVolumeBackup({ groupId: DEFAULT_GROUP_ID, volumeId: volume.id, ...given })
    fake.volumeBackups.set(kept.id, kept)
    return kept
  }
  const instance = fakeInstance({ groupId: DEFAULT_GROUP_ID, name: 'web', state: 'RUNNING' })
  fake.instances.set(instance.id, instance)
  function keepSnapshot(given: Parameters<typeof fakeInstanceSnapshot>[0]) {
    const kept = fakeInstanceSnapshot({ groupId: DEFAULT_GROUP_ID, instanceId: instance.id, ...given })
    fake.instanceSnapshots.set(kept.id, kept)
    return kept
  }
  function keepInstanceBackup(given: Parameters<typeof fakeInstanceBackup>[0]) {
    const kept = fakeInstanceBackup({ groupId: DEFAULT_GROUP_ID, instanceId: instance.id, ...given })
    fake.instanceBackups.set(kept.id, kept)
    return kept
  }
  return { ...listener, volume, instance, keep, keepSnapshot, keepInstanceBackup }
}

test('the documented exchanges', async (t) => {
  const { url, volume, instance, keep, keepSnapshot, keepInstanceBackup } = await open(t)
  const exchanges = await readExchanges(join(import.meta.dirname, 'exchanges'))
  t.true(exchanges.length > 6)
  for (const exchange of exchanges) {
    const variables = {
      ...{ volume: volume.id, instance: instance.id, snapshot: keepSnapshot({}).id },
      ...{ single: keep({}).id, standing: keep({ isIncremental: true }).id },
      whole: keepInstanceBackup({ isIncremental: false }).id,
      incremental: keepInstanceBackup({ isIncremental: true }).id,
    }
    t.deepEqual(await replay([exchange], { baseUrl: url, token: 'operator-token', variables }), [])
  }
})

/** `backup-service.md`, 1.4 and 2.4: what the gateway leads to, without the paths that are Cinder's. */
const GATEWAY = [
  ['GET /v1/block/backup', 'GET /v1/volume/backup'],
  ['GET /v1/block/backup/:id', 'GET /v1/volume/backup/:id'],
  ['POST /v1/block/backup', 'POST /v1/volume/backup'],
  ['POST /v1/block/backup/:id/action', 'POST /v1/volume/backup/:id/action'],
  ['DELETE /v1/block/backup/:id', 'DELETE /v1/volume/backup/:id'],
  ['GET /v1/compute/snapshot', 'GET /v1/instance/snapshot'],
  ['GET /v1/compute/snapshot/:id', 'GET /v1/instance/snapshot/:id'],
  ['POST /v1/compute/snapshot', 'POST /v1/instance/snapshot'],
  ['DELETE /v1/compute/snapshot/:id', 'DELETE /v1/instance/snapshot/:id'],
  ['GET /v1/compute/backup', 'GET /v1/instance/backup'],
  ['GET /v1/compute/backup/:id', 'GET /v1/instance/backup/:id'],
  ['POST /v1/compute/backup', 'POST /v1/instance/backup'],
  ['POST /v1/compute/backup/:id/action', 'POST /v1/instance/backup/:id/action'],
  ['DELETE /v1/compute/backup/:id', 'DELETE /v1/instance/backup/:id'],
] as const

test("the gateway's paths lead where the document says, with the same rights, statuses and shapes", (t) => {
  const routes = new Map(
    backup.routes.flatMap((route) =>
      route.kind === 'route' || route.kind === 'raw' ? [[`${route.method} ${route.path}`, route]] : [],
    ),
  )
  t.deepEqual([...routes.keys()].toSorted(), GATEWAY.flat().toSorted())
  for (const [gateway, service] of GATEWAY) {
    const { operation: _, path: __, handle, ...told } = routes.get(gateway) ?? {}
    const { operation: ___, path: ____, handle: same, ...meant } = routes.get(service) ?? {}
    t.deepEqual(told, meant)
    t.is(String(handle), String(same))
  }
})

test('what was asked reaches core as it is meant', async (t) => {
  const { core } = await startListener(t)
  const asked: unknown[] = []
  const volumeBackups = {
    ...core.volumeBackups,
    async create(...[, request]: Parameters<typeof core.volumeBackups.create>) {
      asked.push(Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined)))
      return { jobId: randomUUID(), backup: fakeVolumeBackup() }
    },
  }
  const { ask } = await startListener(t, { core: { volumeBackups } })
  const [volume, snapshot, target] = [randomUUID(), randomUUID(), randomUUID()]
  const whole = {
    name: 'a',
    volume_id: volume,
    snapshot_id: snapshot,
    target,
    incremental: true,
    retention: 2,
    force: true,
  }
  t.is((await ask('POST', PATH, { body: { backup: whole } })).status, 201)
  const nulls = { snapshot_id: null, target: null, incremental: null, retention: null, force: null, description: 'x' }
  t.is((await ask('POST', PATH, { body: { backup: { name: 'b', volume_id: volume, ...nulls } } })).status, 201)
  t.deepEqual(asked, [
    { name: 'a', volume, snapshot, target, incremental: true, retention: 2, force: true },
    { name: 'b', volume },
  ])
})

test('one is shown whole, and its ETag is of what is shown', async (t) => {
  const { ask, fake, keep } = await open(t)
  const target = { id: randomUUID(), name: 'nas' }
  const kept = keep({ sizeBytes: 2 ** 30 + 1, failReason: 'the target is full', status: 'error', target })
  const got = await ask('GET', `${PATH}/${kept.id}`, { as: 'viewer' })
  t.deepEqual(got.json, {
    backup: {
      ...{ id: kept.id, name: 'nightly', volume_id: kept.volumeId, volume: 'tank/a', snapshot_id: null, target },
      ...{ status: 'error', size: 2, size_bytes: 2 ** 30 + 1, stored_bytes: 1000, is_incremental: false },
      ...{ has_dependent_backups: false, instance_backup_id: null, retention: 0, point_count: 1 },
      ...{ fail_reason: 'the target is full', progress: null, points: [...kept.points] },
      ...{ created_at: '2026-01-02T03:04:05.678Z', updated_at: '2026-01-02T03:04:05.678Z' },
    },
  })
  const headers = { 'if-none-match': got.headers.get('etag') ?? '' }
  t.is((await ask('GET', `${PATH}/${kept.id}`, { headers })).status, 304)
  fake.volumeBackups.set(kept.id, { ...kept, status: 'creating', progressPercent: 3 })
  const later = await ask('GET', `${PATH}/${kept.id}`, { headers })
  t.like(later, { status: 200, json: { backup: { progress: 3 } } })
  const stale = { 'if-match': got.headers.get('etag') ?? '' }
  t.is((await ask('DELETE', `${PATH}/${kept.id}`, { headers: stale })).status, 412)
  t.is(
    (await ask('DELETE', `${PATH}/${kept.id}`, { headers: { 'if-match': later.headers.get('etag') ?? '' } })).status,
    201,
  )
})

test('what others rest on is not deleted, and that is told', async (t) => {
  const { ask, keep } = await open(t)
  const instanceBackupId = randomUUID()
  const { id } = keep({ instanceBackupId })
  t.true((await ask('GET', `${PATH}/${id}`)).json.backup.has_dependent_backups)
  const { status, json } = await ask('DELETE', `${PATH}/${id}`)
  t.is(status, 409)
  t.like(json.error, { code: 409, blockers: [`instance backup ${instanceBackupId}`] })
})

test('a list is whole, or has pages where a limit is asked for', async (t) => {
  const { ask, keep } = await open(t)
  const kept = Array.from({ length: 7 }, (_, n) => keep({ name: `b${n % 2}` }).id).toReversed()
  const idsOf = (json: { backups: { id: string }[] }) => json.backups.map(({ id }) => id)
  const whole = await ask('GET', PATH)
  t.deepEqual(idsOf(whole.json), kept)
  t.deepEqual(Object.keys(whole.json), ['backups'])
  const etag = whole.headers.get('etag') ?? ''
  t.is((await ask('GET', PATH, { headers: { 'if-none-match': etag } })).status, 304)
  t.is((await ask('GET', `${PATH}?limit=1`, { headers: { 'if-match': etag } })).status, 412)
  const first = await ask('GET', `${PATH}?limit=5`)
  const next = await ask('GET', `${PATH}?limit=5&marker=${first.json.next_marker}`)
  t.deepEqual([...idsOf(first.json), ...idsOf(next.json)], kept)
  t.deepEqual(Object.keys(next.json), ['backups'])
  t.is((await ask('GET', `${PATH}?name=b1`)).json.backups.length, 3)
  t.is((await ask('GET', `${PATH}?volume_id=${randomUUID()}`)).json.backups.length, 0)
  t.is((await ask('GET', `${PATH}?limit=0`)).status, 400)
})

test('every failure wears the envelope, and a repeat under a key is one backup', async (t) => {
  const { ask, fake, volume } = await open(t)
  const body = { backup: { name: 'a', volume_id: volume.id } }
  const failures = [
    [401, await ask('GET', PATH, { as: null })],
    [403, await ask('POST', PATH, { body, as: 'viewer' })],
    [412, await ask('POST', PATH, { body, headers: { 'if-match': '"a"' } })],
    [413, await ask('POST', PATH, { body: `{"backup": "${'x'.repeat(1024 * 1024)}"}` })],
  ] as const
  for (const [code, { status, json }] of failures) {
    t.is(status, code)
    t.deepEqual(Object.keys(json.error), ['code', 'message'])
    t.is(json.error.code, code)
  }
  const headers = { 'idempotency-key': 'once' }
  const first = await ask('POST', PATH, { body, headers })
  const again = await ask('POST', PATH, { body, headers })
  t.deepEqual(again.json, first.json)
  t.is(fake.volumeBackups.size, 1)
})

test('an instance snapshot is shown with its parts', async (t) => {
  const { ask, keepSnapshot } = await open(t)
  const part = (kind: 'dataset' | 'volume', sizeBytes: number) =>
    ({ kind, id: randomUUID(), sourceId: randomUUID(), sizeBytes, status: 'available' }) as const
  const [root, volume] = [part('dataset', 0), part('volume', 3 * 2 ** 30)]
  const kept = keepSnapshot({ parts: [root, volume], leftOut: ['/mnt/nas'] })
  const got = await ask('GET', `/v1/instance/snapshot/${kept.id}`, { as: 'viewer' })
  t.deepEqual(got.json, {
    snapshot: {
      ...{ id: kept.id, name: 'before', instance_id: kept.instanceId, instance: { ...kept.instance } },
      ...{ consistency: 'frozen', fail_reason: null, status: 'available' },
      ...{ created_at: '2026-01-02T03:04:05.678Z', updated_at: '2026-01-02T03:04:05.678Z' },
      root_snapshots: [{ id: root.id, dataset_id: root.sourceId, status: 'available' }],
      volume_snapshots: [{ id: volume.id, volume_id: volume.sourceId, size: 3, status: 'available' }],
      left_out: ['/mnt/nas'],
    },
  })
  const headers = { 'if-match': got.headers.get('etag') ?? '' }
  t.is((await ask('DELETE', `/v1/compute/snapshot/${kept.id}`, { headers })).status, 201)
  t.is((await ask('DELETE', `/v1/instance/snapshot/${kept.id}`, { headers })).status, 412)
})

test('an instance backup is shown with its parts', async (t) => {
  const { ask, keepInstanceBackup } = await open(t)
  const part = (kind: 'root' | 'volume', sizeBytes: number) =>
    ({ kind, id: randomUUID(), sourceId: randomUUID(), sizeBytes, status: 'available' }) as const
  const [root, volume] = [part('root', 1), part('volume', 2 * 2 ** 30)]
  const kept = keepInstanceBackup({ isIncremental: true, parts: [root, volume], progressPercent: 100, target: null })
  const got = await ask('GET', `/v1/compute/backup/${kept.id}`, { as: 'viewer' })
  t.deepEqual(got.json, {
    backup: {
      ...{ id: kept.id, name: kept.name, instance_id: kept.instanceId, instance: { ...kept.instance } },
      ...{ consistency: kept.consistency, fail_reason: null, status: 'available', is_incremental: true, target: null },
      ...{ created_at: '2026-01-02T03:04:05.678Z', updated_at: '2026-01-02T03:04:05.678Z' },
      ...{ size: 3, progress: 99, has_dependent_backups: false },
      root_backups: [{ id: root.id, source_id: root.sourceId, size: 1, status: 'available' }],
      volume_backups: [{ id: volume.id, volume_id: volume.sourceId, size: 2, status: 'available' }],
    },
  })
  const headers = { 'if-match': got.headers.get('etag') ?? '' }
  const path = `/v1/instance/backup/${kept.id}/action`
  t.is((await ask('POST', path, { headers, body: { update: null } })).status, 201)
  t.is((await ask('POST', path, { headers, body: { update: {} } })).status, 412)
})
