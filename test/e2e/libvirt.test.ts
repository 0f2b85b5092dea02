import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { startFleet, type TestFleet } from '../harness/fleet.ts'
import { findLibvirtRoom } from '../harness/libvirt-room.ts'
import { temporaryDirectory } from '../harness/loop-mount.ts'
import { lacksServers, testUnless } from '../harness/system-packages.ts'
import { until } from '../harness/until.ts'

const opened = lacksServers() === undefined ? await findLibvirtRoom() : undefined
const it = testUnless(lacksServers() ?? opened?.lacks)
const WAIT_MS = 120_000
test.after.always(() => opened?.room?.[Symbol.asyncDispose]())

it('a domain is snapshotted and backed up with its disk, which is a volume, and goes on from what that is rolled back to', async (t) => {
  if (opened?.room === undefined) throw new Error('no libvirt')
  const { room } = opened
  const path = temporaryDirectory(t)
  const device = join(path, 'volumes/vm.raw')
  room.define('shop', [device])
  const environment = { HOLDFAST_LIBVIRT_URI: room.uri }
  const fleet = await startFleet(t, { agents: [{ name: 'alpha', driver: 'copy', path, environment }] })
  const ask = async (method: string, at: string, status: number, body?: object) => {
    const answer = await fleet.call(method, at, body)
    t.is(answer.status, status, JSON.stringify(answer.body))
    return answer
  }
  const does = async (act: 'start' | 'stop', body?: object) => {
    const { body: told } = await ask('POST', `/api/v1/instances/${domain.id}/${act}`, 202, body)
    t.like(await fleet.ended(told.job_id, WAIT_MS), { state: 'succeeded', error: null })
  }

  const volume = (await ask('POST', '/api/v1/volumes', 201, { name: 'vm', size_bytes: 2 ** 20 })).body
  t.is(volume.device, device)
  room.disk(device)
  const domain = await until(
    'its host tells of it, with its disk',
    async () => (await fleet.call('GET', '/api/v1/instances?name=shop')).body.items[0],
    WAIT_MS,
  )
  t.like(domain, { type: 'libvirt', state: 'STOPPED' })
  t.like(domain.mounts[0], { kind: 'disk', destination: '/dev/vda', volume: 'alpha-pool/vm' })

  await does('start')
  await until('it counts', () => room.ticks(device) > 0, WAIT_MS)
  const attachment = await attached(fleet, volume.id)
  t.like(attachment, { server_id: domain.id, device: '/dev/vda' })
  await ask('POST', `/v3/default/volumes/${volume.id}/action`, 400, { 'os-detach': {} })

  const snapshot = await made(fleet, 'snapshot', { name: 'before', instance_id: domain.id })
  // Nobody in it was there to write out what it holds: as after a power cut, though it stood still.
  t.like(snapshot, { status: 'available', consistency: 'crash', root_snapshots: [], left_out: [] })
  const [part] = snapshot.volume_snapshots
  t.is(part.volume_id, volume.id)
  const takenAt = room.ticks(device)
  await until('it goes on', () => room.ticks(device) > takenAt, WAIT_MS)

  const rollback = { rollback: { snapshot_id: part.id } }
  await ask('POST', `/v1/volume/${volume.id}/action`, 409, rollback)
  await fleetRefuses(t, fleet, part.id)
  await does('stop', { grace_seconds: 30 })
  const stoppedAt = room.ticks(device)
  await refusedOfDomains(t, fleet, domain.id)

  const backup = await made(fleet, 'backup', { name: 'nightly', instance_id: domain.id })
  t.like(backup, { status: 'available', consistency: 'stopped', fail_reason: null })
  t.is(backup.volume_backups[0].volume_id, volume.id)

  const rolled = await ask('POST', `/v1/volume/${volume.id}/action`, 201, rollback)
  t.like(await fleet.ended(rolled.headers.get('x-job-id') ?? '', WAIT_MS), { state: 'succeeded', error: null })
  const back = room.ticks(device)
  t.true(back > 0 && back <= takenAt && back < stoppedAt, `${back} of ${takenAt}, ${stoppedAt}`)
  await does('start')
  await until('it goes on from there', () => room.ticks(device) > back, WAIT_MS)
  await does('stop', { grace_seconds: 0 })
})

function attached(fleet: TestFleet, volumeId: string) {
  return until(
    'its disk is attached to it',
    async () => (await fleet.call('GET', `/v3/default/volumes/${volumeId}`)).body.volume.attachments[0],
    WAIT_MS,
  )
}

/** @returns it once it is settled */
async function made(fleet: TestFleet, kind: 'snapshot' | 'backup', wanted: object) {
  const { id } = (await fleet.call('POST', `/v1/instance/${kind}`, { [kind]: wanted })).body[kind]
  return until(
    `the ${kind} is there`,
    async () => {
      const one = (await fleet.call('GET', `/v1/instance/${kind}/${id}`)).body[kind]
      return one.status === 'creating' ? undefined : one
    },
    WAIT_MS,
  )
}

/** The fleet's own rollback knows nothing of attachments: the host looks by itself. */
async function fleetRefuses(t: ExecutionContext, fleet: TestFleet, snapshotId: string): Promise<void> {
  const [row] = await fleet.sql('select name from volume_snapshot where id = $1', [snapshotId])
  const answer = await fleet.call('POST', '/api/v1/volumes/alpha-pool%2Fvm/rollback', { snapshot: row.name })
  t.is(answer.status, 202, JSON.stringify(answer.body))
  t.like(await fleet.ended(answer.body.job_id, WAIT_MS), { state: 'failed', error: { code: 'conflict' } })
}

async function refusedOfDomains(t: ExecutionContext, fleet: TestFleet, id: string): Promise<void> {
  const clone = await fleet.call('POST', `/api/v1/instances/${id}/clone`, { name: 'shop2' })
  t.like(clone, { status: 403 })
  const point = await fleet.call('POST', '/api/v1/points', { source: { instance: 'shop' } })
  t.like(point, { status: 403 })
  const deleted = await fleet.call('DELETE', '/api/v1/volumes/alpha-pool%2Fvm')
  t.is(deleted.status, 409)
}
