import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { instancesContract, never } from '../../../test/contracts/instances-contract.ts'
import { lacksPodman, openPodmanRoom, type PodmanRoom } from '../../../test/harness/podman-room.ts'
import { testUnless } from '../../../test/harness/system-packages.ts'
import { createWatchdogs } from '../watchdog.ts'
import { createDockerDriver } from './docker-driver.ts'

const lacks = await lacksPodman()
const it = testUnless(lacks)
const notes = mkdtempSync('/var/tmp/holdfast-notes-')
let opened: PodmanRoom | undefined

if (lacks === undefined)
  test.before(async () => {
    opened = openPodmanRoom()
    await opened.serve()
  })
test.after.always(async () => {
  await opened?.close()
  rmSync(notes, { recursive: true, force: true })
})

function room(): PodmanRoom {
  if (opened === undefined) throw new Error('no Podman')
  return opened
}
const open = () => createDockerDriver({ socketPath: room().socketPath, watchdogs: createWatchdogs(notes) })

async function save(stream: AsyncIterable<Buffer> | undefined, name: string): Promise<string> {
  const file = join(room().folder, name)
  writeFileSync(file, Buffer.concat(await Array.fromAsync(stream ?? [])))
  return file
}

async function copyRootfs(id: string): Promise<string> {
  const folder = mkdtempSync(join(room().folder, 'root '))
  const tar = await save(open().exportRootfs?.(id, never), 'root.tar')
  execFileSync('/bin/tar', ['-C', folder, '-xpf', tar])
  return folder
}

instancesContract(it, () => ({
  driver: open(),
  notes,
  type: 'docker',
  place: room().socketPath,
  define: async (name) => room().define(name),
  read: (id, file) => room().read(id, `root/${file}`),
  copyRootfs,
}))

it('volumes and bound directories are its mounts, and are chosen anew for another', async (t) => {
  const driver = open()
  const shared = join(room().folder, 'shared')
  mkdirSync(shared)
  const id = room().define('bound', [
    '--volume',
    'kept:/data',
    '--volume',
    `${shared}:/shared:ro`,
    '--cap-add',
    'SYS_TIME',
  ])
  const { mounts = [] } = (await driver.find(id, never)) ?? {}
  const source = (await driver.ensureVolume?.('kept', never)) ?? ''
  const volume = { source, destination: '/data', kind: 'volume', volume: 'kept', readonly: false } as const
  const bind = { source: shared, destination: '/shared', kind: 'bind', volume: undefined, readonly: true } as const
  t.deepEqual(
    mounts.toSorted((left, right) => left.destination.localeCompare(right.destination)),
    [volume, bind],
  )

  const other = (await driver.ensureVolume?.('other', never)) ?? ''
  writeFileSync(join(other, 'note'), 'restored')
  const { instance, dropped } = await driver.create(
    {
      name: 'Bound_again',
      config: await driver.readConfig(id, never),
      rootfs: await copyRootfs(id),
      identity: 'new',
      trusted: false,
      mounts: [{ destination: '/data', source: { volume: 'other' }, readonly: false }],
    },
    never,
  )
  t.deepEqual(dropped.toSorted(), ['/shared', 'CapAdd'])
  t.deepEqual(instance.mounts, [{ ...volume, source: other, volume: 'other' }])
  await driver.start(instance.id, never)
  const { pid } = (await driver.find(instance.id, never)) ?? {}
  t.is(readFileSync(`/proc/${pid}/root/data/note`, 'utf8'), 'restored')
  await driver.stop(instance.id, { graceMs: 0, signal: never })
  await driver.destroy(instance.id, never)
  await driver.destroy(id, never)
  t.is(readFileSync(join(other, 'note'), 'utf8'), 'restored')
  t.is(room().podman('images', '--quiet', 'localhost/holdfast/bound_again'), '')
})

it('an image goes out as a tar and comes back', async (t) => {
  const driver = open()
  const id = room().define('with-image')
  const { image } = await driver.readConfig(id, never)
  t.is(image?.reference, 'localhost/counter:1')
  const tar = await save(driver.exportImage?.(id, never), 'saved.tar')
  await driver.destroy(id, never)
  room().podman('rmi', 'localhost/counter:1')
  await driver.importImage?.(tarOf(tar), never)
  t.is(
    room().podman('inspect', '--format', '{{.Id}}', 'localhost/counter:1').trim(),
    image?.id.replace('sha256:', '') ?? '',
  )
})

async function* tarOf(file: string): AsyncGenerator<Buffer> {
  yield readFileSync(file)
}

it('a root that cannot be read leaves neither a container nor an image', async (t) => {
  const driver = open()
  const id = room().define('origin')
  const file = join(room().folder, 'no-directory')
  writeFileSync(file, '')
  const config = await driver.readConfig(id, never)
  const request = { name: 'half', config, rootfs: file, identity: 'new', trusted: true, mounts: [] } as const
  await t.throwsAsync(driver.create(request, never), { code: 'internal' })
  t.is(await driver.find('half', never), undefined)
  t.is(room().podman('images', '--quiet', 'localhost/holdfast/half'), '')
  await driver.destroy(id, never)
})

it('an image that a label names goes with its container only if it was made here', async (t) => {
  const driver = open()
  const origin = room().define('labelled')
  const tar = await save(driver.exportRootfs?.(origin, never), 'labelled.tar')
  const image = room().podman('import', tar, 'localhost/mine:1').trim().split('\n').at(-1)?.replace('sha256:', '') ?? ''
  room().podman('create', '--name', 'mine', '--label', `holdfast.image=${image}`, 'localhost/mine:1', '/bin/true')
  await driver.destroy('mine', never)
  t.is(await driver.find('mine', never), undefined)
  t.not(room().podman('images', '--quiet', 'localhost/mine:1'), '')
  await driver.destroy(origin, never)
})

it('the beginning of an id is nobody’s name', async (t) => {
  const driver = open()
  const id = room().define('prefixed')
  t.is(await driver.find(id.slice(0, 12), never), undefined)
  await driver.destroy(id.slice(0, 12), never)
  t.is((await driver.find(id, never))?.name, 'prefixed')
  await driver.destroy('prefixed', never)
})

it('an engine that is gone is unavailable, and one that froze and came back thaws what was left', async (t) => {
  const driver = open()
  const id = room().define('outage')
  await driver.start(id, never)
  const freeze = await driver.freeze({ id, maxMs: 60_000, signal: never })
  await room().service.signal('SIGKILL')
  await t.throwsAsync(driver.list(never), { code: 'unavailable' })
  await t.throwsAsync(freeze.thaw(), { code: 'unavailable' })
  await room().serve()
  t.true((await freeze.thaw()).intact)
  t.is((await driver.find(id, never))?.state, 'RUNNING')
  await driver.stop(id, { graceMs: 0, signal: never })
  await driver.destroy(id, never)
})

test('an engine that is not there is unavailable', async (t) => {
  const driver = createDockerDriver({ socketPath: '/nowhere/docker.sock', watchdogs: createWatchdogs(notes) })
  await t.throwsAsync(driver.list(never), { code: 'unavailable' })
  await t.throwsAsync(driver.find('x', never), { code: 'unavailable' })
})
