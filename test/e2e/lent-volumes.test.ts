import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, openSync, writeSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import { startFleet } from '../harness/fleet.ts'
import { temporaryDirectory } from '../harness/loop-mount.ts'
import { lacksLuns } from '../harness/lun-room.ts'
import { lacksServers, lacksTool, testUnless } from '../harness/system-packages.ts'
import { createTenant } from '../harness/tenants.ts'
import { until } from '../harness/until.ts'

const GIB = 2 ** 30
/** A gibibyte is read and written, on a machine that does much else. */
const WAIT_MS = 180_000
/** Each look is answered by two services. */
const LOOK_MS = 250

interface Volume {
  readonly id: string
  readonly status: string
}

/** A fleet behind another one: its block API is what speaks Cinder there, to a network that it trusts, and it lends real iSCSI targets. */
async function startBoth(t: ExecutionContext) {
  const behind = await startFleet(t, {
    agents: [{ name: 'behind', driver: 'copy', path: temporaryDirectory(t) }],
    environment: { HOLDFAST_TRUSTED_NETWORKS: '127.0.0.0/8=operator' },
  })
  const environment = { HOLDFAST_AGENT_BACKUP_ROOT: temporaryDirectory(t), HOLDFAST_AGENT_TARGET_LOOPBACK: 'true' }
  const front = await startFleet(t, {
    agents: [{ name: 'front', driver: 'copy', path: temporaryDirectory(t), environment }],
    environment: { HOLDFAST_CINDER_URL: `${behind.url()}/v3` },
  })
  // The group that stands for a project is called by that one's id.
  const { groupId: project } = await createTenant(behind, 'red')
  const { token } = await (await createTenant(front, project)).member('operator')
  const headers = { 'x-auth-token': `somebody:${project}` }

  async function ask(method: string, path: string, body?: unknown) {
    const answer = await front.call(method, `/v1${path}`, body, { token, headers })
    t.true(answer.status < 300, `${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
    return answer.body
  }
  const volumes = async (): Promise<readonly Volume[]> =>
    (await behind.call('GET', `/v3/${project}/volumes/detail`)).body.volumes
  const available = async (id: string) => {
    const status = await until(
      `volume ${id} is made`,
      async () => {
        await delay(LOOK_MS)
        const { volume } = await ask('GET', `/block/volume/${id}`)
        return !['creating', 'attaching', 'reverting'].includes(volume.status) && volume.status
      },
      WAIT_MS,
    )
    t.is(status, 'available')
  }
  return {
    ...{ front, behind, token, ask, volumes, available },
    /** Where the bytes are that only an initiator of it should see. */
    device: async (id: string): Promise<string> => (await behind.call('GET', `/api/v1/volumes/${id}`)).body.device,
    async backedUp(id: string) {
      const made = await until(
        `backup ${id}`,
        async () => {
          await delay(LOOK_MS)
          const { backup } = await ask('GET', `/volume/backup/${id}`)
          return backup.status !== 'creating' && backup
        },
        WAIT_MS,
      )
      t.like(made, { status: 'available', fail_reason: null })
      return made
    },
    /** Nothing that was borrowed is still there. */
    async isGivenBack(...left: readonly string[]): Promise<void> {
      await until(
        'all is given back',
        async () => (await front.sql('select phase from lun_loan')).length === 0,
        120_000,
      )
      t.deepEqual((await volumes()).map(({ id }) => id).toSorted(), left.toSorted())
      t.deepEqual((await behind.call('GET', '/api/v1/exports')).body.items, [])
      t.deepEqual(await front.sql(`select id from secret where kind = 'chap'`), [])
    },
  }
}

function put(device: string, at: number, bytes: Buffer | string): void {
  const file = openSync(device, 'r+')
  writeSync(file, Buffer.from(bytes), 0, null, at)
  closeSync(file)
}

testUnless(lacksServers() ?? lacksTool('zstd') ?? lacksLuns())(
  'a volume of the service behind grows a backup, becomes another volume there, and goes back to a snapshot',
  async (t) => {
    t.timeout(10 * 60_000, 'on a machine that does much else')
    const { front, behind, token, ask, available, device, backedUp, isGivenBack } = await startBoth(t)
    const { id } = (await ask('POST', '/block/volume', { volume: { size: 1, name: 'disk' } })).volume
    await available(id)
    const disk = await device(id)
    put(disk, 5_000_000, randomBytes(300_000))
    put(disk, GIB - 4, 'last')
    const { backup } = await ask('POST', '/volume/backup', {
      backup: { name: 'nightly', volume_id: id, incremental: true },
    })
    await backedUp(backup.id)
    put(disk, 5_100_000, 'changed')
    await ask('POST', `/volume/backup/${backup.id}/action`, { update: null })
    const grown = await backedUp(backup.id)
    t.like(grown, { size: 1, point_count: 2, volume_id: id, volume: 'disk', fail_reason: null })
    const { body: point } = await front.call('GET', `/api/v1/points/${grown.points[1]}`, undefined, { token })
    t.like(point, { status: 'good', chain: [grown.points[0]] })
    t.true(point.source_bytes < 2 ** 20, String(point.source_bytes))
    await isGivenBack(id)

    const { volume: again } = await ask('POST', '/volume', { volume: { backup_id: backup.id, name: 'again' } })
    t.like(again, { name: 'again', size: 1 })
    await available(again.id)
    execFileSync('/usr/bin/cmp', [disk, await device(again.id)])
    await isGivenBack(id, again.id)

    const { snapshot } = await ask('POST', '/block/snapshot', { snapshot: { volume_id: again.id, name: 'as it was' } })
    await until('it is snapshotted', async () => {
      return (await ask('GET', `/block/snapshot/${snapshot.id}`)).snapshot.status === 'available'
    })
    put(await device(again.id), 7, 'spoilt')
    const rollback = { rollback: { snapshot_id: snapshot.id } }
    const rolled = await front.call('POST', `/v1/volume/${again.id}/action`, rollback)
    t.is(rolled.status, 404, 'nobody is let near it without a token of that service')
    await ask('POST', `/volume/${again.id}/action`, rollback)
    await available(again.id)
    execFileSync('/usr/bin/cmp', ['-n', '8000000', disk, await device(again.id)])
    await Promise.all([front.quiet(), behind.quiet()])
  },
)
