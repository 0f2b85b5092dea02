import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { type CinderIdentity, lacksCinder, openCinder } from '../harness/cinder.ts'
import { lacksInitiator } from '../harness/initiator.ts'
import { temporaryDirectory } from '../harness/loop-mount.ts'
import { sharedFleet } from '../harness/shared-fleet.ts'
import { lacksServers, lacksTool, testUnless } from '../harness/system-packages.ts'
import { createTenant } from '../harness/tenants.ts'
import { until as untilWithin } from '../harness/until.ts'

const shared = sharedFleet(test, (scope) => {
  if (lacksServers() !== undefined) return undefined
  const backups = { HOLDFAST_AGENT_BACKUP_ROOT: temporaryDirectory(scope) }
  const agents = [{ name: 'alpha', driver: 'copy' as const, path: temporaryDirectory(scope), environment: backups }]
  return { agents, environment: { HOLDFAST_TRUSTED_NETWORKS: '127.0.0.0/8=operator' } }
})

/** What a host does for whoever waits takes its time where everybody works at once. */
const PATIENCE_MS = 60_000
const until = (what: string, check: () => Promise<boolean>) => untilWithin(what, check, PATIENCE_MS)

type Client = ReturnType<typeof openCinder>

/** The client as somebody: what it prints, taken apart. */
function cinderAs(t: ExecutionContext, { run }: Pick<Client, 'run'>, as: CinderIdentity) {
  /** @returns all that it says */
  const refused = async (...words: readonly string[]): Promise<string> => {
    const { code, said } = await run(as, words)
    t.not(code, 0, `cinder ${words.join(' ')}: ${said}`)
    return said
  }
  /** @returns the table that it prints, as its cells */
  const cinder = async (...words: readonly string[]): Promise<readonly (readonly string[])[]> => {
    const { code, said } = await run(as, words)
    t.is(code, 0, `cinder ${words.join(' ')}: ${said}`)
    const lines = said.split('\n').filter((line) => line.startsWith('|'))
    return lines.map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )
  }
  /** A table of two columns, as what it says of each word. */
  const facts = async (...words: readonly string[]): Promise<Readonly<Record<string, string>>> =>
    Object.fromEntries((await cinder(...words)).map(([name = '', value = '']) => [name, value]))
  return { cinder, facts, refused }
}

testUnless(lacksServers() ?? lacksCinder())("Debian's cinder client, with a token and without", async (t) => {
  const { fleet } = shared(t)
  const red = await createTenant(fleet, 'red')
  const { token } = await red.member('operator')
  const client = openCinder(t)
  const as = (project: string, shown: string | null) => ({ url: fleet.url(), project, token: shown })
  const { cinder, facts, refused } = cinderAs(t, client, as('red', token))
  /** Without the client, which takes its time for each look. */
  const listed = async (what = 'volumes', project = 'red', by = token) =>
    (await fleet.call('GET', `/v3/${project}/${what}/detail`, undefined, { token: by })).body[what].map(
      ({ name, size, status }: Record<string, unknown>) => `${name} ${size} ${status}`,
    )
  const become = (what: 'volumes' | 'snapshots', ...wanted: string[]) =>
    until(`${what}: ${wanted}`, async () => String(await listed(what)) === String(wanted))

  const words = ['--name', 'data', '--description', 'of the shop', '--metadata', 'tier=gold']
  const program = cinderAs(t, { run: client.program }, as('red', token))
  const { id = '', ...made } = await program.facts('create', '1', ...words)
  t.like(made, { name: 'data', size: '1', description: 'of the shop', volume_type: 'alpha-pool' })
  await become('volumes', 'data 1 available')
  await cinder('metadata', 'data', 'set', 'owner=ops')
  await cinder('metadata', 'data', 'unset', 'tier')
  await cinder('rename', 'data', 'goods')
  await cinder('extend', 'goods', '2')
  await become('volumes', 'goods 2 available')
  t.like(await facts('show', 'goods'), { id, metadata: 'owner : ops', status: 'available', size: '2' })

  const { id: snapshot = '' } = await facts('snapshot-create', 'goods', '--name', 'first')
  await become('snapshots', 'first 2 available')
  t.regex(await refused('delete', 'goods'), /is needed by snapshot/)
  t.is((await facts('create', '3', '--snapshot-id', snapshot, '--name', 'copy')).snapshot_id, snapshot)
  await become('volumes', 'copy 3 available', 'goods 2 available')
  const rows = async (...list: string[]) => (await cinder(...list)).slice(1).map((row) => row.join(' ').trim())
  t.deepEqual(
    (await rows('list', '--metadata', 'owner=ops')).map((row) => row.slice(0, id.length)),
    [id],
  )
  t.regex((await rows('snapshot-list', '--volume-id', id)).join(), new RegExp(`^${snapshot} ${id} available first 2`))

  // Another project's has neither a name nor an id, and is no project to act for.
  const blue = await createTenant(fleet, 'blue')
  const strange = (await blue.member('admin')).token
  const other = cinderAs(t, client, as('blue', strange))
  t.deepEqual(await listed('volumes', 'blue', strange), [])
  t.regex(await other.refused('show', id), /No volume with a name or ID/)
  const intruder = cinderAs(t, client, as('red', strange))
  t.regex(await intruder.refused('list'), /may not act for this group.*403/)

  // Whom the network is trusted to let in acts for the project that it names, with the network's role.
  const unasked = cinderAs(t, client, as('red', null))
  t.regex(await unasked.refused('snapshot-delete', 'first'), /needed by volume/)
  await unasked.cinder('delete', 'copy')
  await become('volumes', 'goods 2 available')
  await cinder('delete', '--cascade', 'goods')
  await become('volumes')
  t.deepEqual(await fleet.sql('select * from block_snapshot'), [])
  await fleet.quiet()
})

const MIB = 2 ** 20
const [RIGHT, WRONG] = ['iqn.2026-01.test:right', 'iqn.2026-01.test:wrong']

interface Status {
  readonly status: string
}

interface Connected {
  readonly target_iqn: string
  readonly target_portal: string
  readonly target_lun: number
  readonly auth_username: string
  readonly auth_password: string
  readonly access_mode: string
}

/** By qemu's own initiator, with the secret: `write -P 1 0 512` and the like. @returns undefined where it was not let in, or read something else */
async function onDisk(data: Connected, initiator: string, ...commands: readonly string[]): Promise<string | undefined> {
  const { target_portal: portal, target_iqn: target, target_lun: lun, auth_username: user, auth_password } = data
  const secrets = ['--object', `secret,id=chap,data=${auth_password}`]
  const file = { driver: 'iscsi', transport: 'tcp', portal, target, lun, user, 'password-secret': 'chap' }
  const members = Object.entries({ ...file, 'initiator-name': initiator }).map(
    ([name, value]) => `file.${name}=${value}`,
  )
  const image = ['--image-opts', ['driver=raw', ...members].join(',')]
  const args = [...secrets, ...image, ...commands.flatMap((command) => ['-c', command])]
  return promisify(execFile)('qemu-io', data.access_mode === 'ro' ? ['-r', ...args] : args, { timeout: 20_000 }).then(
    ({ stdout }) => stdout,
    () => undefined,
  )
}

const lacks = lacksServers() ?? lacksTool('tgtd') ?? lacksInitiator()
testUnless(lacks)(
  'what a connection is told lets its initiator in, and nobody else; what was written comes back',
  async (t) => {
    const { fleet } = shared(t)
    const { member } = await createTenant(fleet, 'green')
    const { token } = await member('operator')
    const ask = async (method: string, path: string, body?: unknown) => {
      const answer = await fleet.call(method, `/v3/green${path}`, body, { token })
      t.true(answer.status < 300, `${method} ${path} ${JSON.stringify(body)}: ${JSON.stringify(answer.body)}`)
      return answer.body
    }
    const act = (id: string, action: object) => ask('POST', `/volumes/${id}/action`, action)
    const become = (path: string, status: string) =>
      until(`${path} is ${status}`, async () => Object.values<Status>(await ask('GET', path))[0]?.status === status)
    const make = async (volume: object): Promise<string> => {
      const { id } = (await ask('POST', '/volumes', { volume })).volume
      await become(`/volumes/${id}`, 'available')
      return id
    }
    const connect = async (id: string, initiator = RIGHT): Promise<Connected> =>
      (await act(id, { 'os-initialize_connection': { connector: { initiator } } })).connection_info.data
    const disconnect = (id: string) => act(id, { 'os-terminate_connection': { connector: { initiator: RIGHT } } })

    const id = await make({ size: 1, name: 'disk' })
    await act(id, { 'os-reserve': null })
    const data = await connect(id)
    t.regex((await onDisk(data, RIGHT, `write -P 17 0 ${MIB}`)) ?? '', /wrote 1048576/)
    t.is(await onDisk(data, WRONG, 'read 0 512'), undefined)
    t.is(await onDisk({ ...data, auth_password: 'not what was told' }, RIGHT, 'read 0 512'), undefined)
    const refused = await fleet.call('POST', `/v3/green/volumes/${id}/action`, {
      'os-initialize_connection': { connector: { initiator: WRONG } },
    })
    t.is(refused.status, 400)
    t.deepEqual(await connect(id), data)
    await act(id, { 'os-attach': { instance_uuid: 'e6d0d4ef-4f5c-4b6c-8a57-5f5a6f9f1a11', mountpoint: '/dev/vdb' } })
    t.is((await ask('GET', `/volumes/${id}`)).volume.status, 'in-use')
    await act(id, { 'os-begin_detaching': null })
    await disconnect(id)
    t.is(await onDisk(data, RIGHT, 'read 0 512'), undefined)
    await act(id, { 'os-detach': null })

    const { snapshot } = await ask('POST', '/snapshots', { snapshot: { volume_id: id, name: 'as it was' } })
    await become(`/snapshots/${snapshot.id}`, 'available')
    t.regex((await onDisk(await connect(id), RIGHT, `write -P 34 0 ${MIB}`)) ?? '', /wrote 1048576/)
    await disconnect(id)
    const clone = await make({ snapshot_id: snapshot.id, size: 2 })
    t.truthy(await onDisk(await connect(clone), RIGHT, `read -P 17 0 ${MIB}`, `read -P 0 ${1024 * MIB} 512`))
    await act(id, { revert: { snapshot_id: snapshot.id } })
    await become(`/volumes/${id}`, 'available')
    t.truthy(await onDisk(await connect(id), RIGHT, `read -P 17 0 ${MIB}`))
    // What it was before is a snapshot of its own.
    const { snapshots } = await ask('GET', `/snapshots/detail?volume_id=${id}`)
    t.is(snapshots.length, 2)
    t.regex(snapshots[0].name, /^before-/)
    const before = await make({ snapshot_id: snapshots[0].id })
    t.truthy(await onDisk(await connect(before), RIGHT, `read -P 34 0 ${MIB}`))
    // And by way of a backup, a new volume, as the backup service's document has it.
    const gateway = async (method: string, path: string, body?: unknown) =>
      (await fleet.call(method, `/v1${path}`, body, { token })).body
    await disconnect(id)
    const { backup } = await gateway('POST', '/volume/backup', { backup: { name: 'b', volume_id: id } })
    await until('it is backed up', async () => {
      const { status, fail_reason: reason } = (await gateway('GET', `/volume/backup/${backup.id}`)).backup
      return status === 'available' || (status === 'error' && t.fail(reason))
    })
    const restored = (await gateway('POST', '/volume', { volume: { backup_id: backup.id, size: 2, name: 'again' } }))
      .volume
    t.like(restored, { name: 'again', backup_id: backup.id, size: 2 })
    await become(`/volumes/${restored.id}`, 'available')
    t.truthy(await onDisk(await connect(restored.id), RIGHT, `read -P 17 0 ${MIB}`))

    // What a volume is made of another by goes with the order, and the other may go before it.
    const twin = await make({ source_volid: id })
    t.is((await ask('GET', `/volumes/${twin}`)).volume.source_volid, id)
    const below = `/api/v1/volumes/${encodeURIComponent(`alpha-pool/volume-${id}`)}/snapshots`
    const kept = (await fleet.call('GET', below)).body.items.map(({ name }: { name: string }) => name)
    t.is(kept.length, 2, String(kept))

    // A connection that nobody ended is ended with its volume.
    for (const one of [clone, before, restored.id]) {
      await ask('DELETE', `/volumes/${one}`)
      await until(`${one} is gone`, async () => (await fleet.call('GET', `/v3/green/volumes/${one}`)).status === 404)
    }
    await ask('DELETE', `/volumes/${id}?cascade=True`)
    await until('it is gone', async () => (await ask('GET', '/volumes')).volumes.length === 1)
    t.truthy(await onDisk(await connect(twin), RIGHT, `read -P 17 0 ${MIB}`))
    await ask('DELETE', `/volumes/${twin}`)
    await until('all are gone', async () => (await ask('GET', '/volumes')).volumes.length === 0)
    t.deepEqual((await fleet.call('GET', '/api/v1/exports')).body.items, [])
    await fleet.quiet()
  },
)

testUnless(lacks ?? lacksCinder())(
  "attachments by Debian's client: reserved, connected to be read or written, complete, and gone",
  async (t) => {
    const { fleet } = shared(t)
    const { member } = await createTenant(fleet, 'grey')
    const { token } = await member('operator')
    const watching = (await member('viewer')).token
    const { cinder, facts, refused } = cinderAs(t, openCinder(t), { url: fleet.url(), project: 'grey', token })
    const ask = async (path: string, by = token) =>
      (await fleet.call('GET', `/v3/grey${path}`, undefined, { token: by })).body
    const statusOf = async (id: string) => (await ask(`/volumes/${id}`)).volume.status
    const connectionOf = async (id: string, by = token): Promise<Connected> =>
      (await ask(`/attachments/${id}`, by)).attachment.connection_info

    const { id: volume = '' } = await facts('create', '1', '--name', 'data')
    await until('it is there', async () => (await statusOf(volume)) === 'available')
    const server = 'e6d0d4ef-4f5c-4b6c-8a57-5f5a6f9f1a11'
    const { id = '', ...made } = await facts('attachment-create', 'data', server)
    t.like(made, { status: 'reserved', instance: server, volume_id: volume })
    t.is(await statusOf(volume), 'reserved')
    t.regex(await refused('attachment-create', 'data'), /is 'reserved', and must be 'available'/)
    const asked = ['--initiator', RIGHT, '--host', 'node', '--mountpoint', '/dev/vdb']
    const told = await facts('attachment-update', id, ...asked)
    t.is(await statusOf(volume), 'attaching')
    const data = { ...(await connectionOf(id)), access_mode: 'rw' }
    t.like(data, { target_iqn: told.target_iqn, target_portal: told.target_portal, auth_password: told.auth_password })
    t.deepEqual(await facts('attachment-update', id, ...asked), told)
    t.false('auth_password' in (await connectionOf(id, watching)))
    t.regex((await onDisk(data, RIGHT, 'write -P 51 0 64k', 'flush')) ?? '', /wrote 65536/)
    await cinder('attachment-complete', id)
    const [, row = []] = await cinder('attachment-list', '--volume-id', volume)
    t.deepEqual(row, [id, volume, 'attached', server])
    t.like(await facts('attachment-show', id), { status: 'attached', attach_mode: 'rw' })
    t.like((await ask(`/volumes/${volume}`)).volume, {
      status: 'in-use',
      attachments: [{ attachment_id: id, device: '/dev/vdb' }],
    })
    await cinder('attachment-delete', id)
    t.is(await statusOf(volume), 'available')
    t.is(await onDisk(data, RIGHT, 'read 0 512'), undefined)

    // What may only be read is not written to, whatever its initiator means to do.
    const second = await facts('attachment-create', 'data', server, '--connect', 'True', '--mode', 'ro', ...asked)
    t.like(second, { status: 'attaching', attach_mode: 'ro', access_mode: 'ro' })
    const reading = await connectionOf(second.id ?? '')
    t.truthy(await onDisk(reading, RIGHT, 'read -P 51 0 64k'))
    t.is(await onDisk({ ...reading, access_mode: 'rw' }, RIGHT, 'write -P 52 0 64k'), undefined)
    await cinder('attachment-delete', second.id ?? '')
    await cinder('readonly-mode-update', 'data', 'True')
    const third = await facts('attachment-create', 'data', server, '--connect', 'True', ...asked)
    t.is(third.access_mode, 'ro')
    t.is(
      await onDisk({ ...(await connectionOf(third.id ?? '')), access_mode: 'rw' }, RIGHT, 'write -P 53 0 512'),
      undefined,
    )
    await cinder('attachment-delete', third.id ?? '')
    await cinder('delete', 'data')
    await until('all are gone', async () => (await ask('/volumes')).volumes.length === 0)
    t.deepEqual((await ask('/attachments')).attachments, [])
    await fleet.quiet()
  },
)
