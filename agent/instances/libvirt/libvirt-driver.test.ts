import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { never, standingContract } from '../../../test/contracts/instances-contract.ts'
import { findLibvirtRoom } from '../../../test/harness/libvirt-room.ts'
import { testUnless } from '../../../test/harness/system-packages.ts'
import { until } from '../../../test/harness/until.ts'
import { createWatchdogs } from '../watchdog.ts'
import { readDomainXml } from './domain-xml.ts'
import { createLibvirtDriver } from './libvirt-driver.ts'

const { room: found, lacks } = await findLibvirtRoom()
const it = testUnless(lacks)
const notes = mkdtempSync('/var/tmp/holdfast-notes-')
const volumeAt = (path: string) => (path.endsWith('/volumes/data.raw') ? 'main/data' : undefined)

test.after.always(async () => {
  await found?.[Symbol.asyncDispose]()
  rmSync(notes, { recursive: true, force: true })
})

const room = () => {
  if (found === undefined) throw new Error('no libvirt')
  return found
}
const driver = createLibvirtDriver({ uri: found?.uri ?? 'qemu:///system', watchdogs: createWatchdogs(notes), volumeAt })
const disks = new Map<string, string>()

/** @returns its UUID */
function defined(name: string, more: readonly string[] = [], devices = ''): string {
  const disk = room().disk(join(room().base, `${disks.size}.raw`))
  const id = room().define(name, [disk, ...more], { devices })
  disks.set(id, disk)
  return id
}
const ticks = (id: string) => room().ticks(disks.get(id) ?? '/nowhere')

/** One for all tests: what one leaves it as, the next one begins with. */
let subject: string | undefined
async function running(): Promise<string> {
  subject ??= defined('subject')
  await driver.start(subject, never)
  return subject
}

standingContract(
  it,
  () => ({
    driver,
    notes,
    type: 'libvirt',
    place: room().uri,
    define: async () => {
      subject ??= defined('subject')
      return subject
    },
    read: (id) => String(ticks(id)),
    remove: async () => undefined,
  }),
  true,
)

it('a domain is told of with its disks: volumes, images below, targets, and not what is put in and taken out', async (t) => {
  const folder = join(room().base, 'volumes')
  mkdirSync(folder)
  const data = room().disk(join(folder, 'data.raw'))
  copyFileSync(data, join(folder, 'other.raw'))
  const id = defined(
    '--all; undefine <&>',
    [data],
    `<disk type='file' device='cdrom'><source file='/nowhere.iso'/><target dev='sda' bus='sata'/><readonly/></disk>
     <disk type='network' device='disk'><source protocol='iscsi' name='iqn.2026-01.example:Disk/1'><host name='127.0.0.1' port='3260'/></source>
       <target dev='vdd' bus='virtio'/><readonly/></disk>`.replaceAll(/\s+/g, ' '),
  )
  t.teardown(() => room().remove(id))
  const all = await driver.list(never)
  const own = all.find((instance) => instance.id === id)
  const mount = { kind: 'disk', readonly: false } as const
  t.like(own, { name: '--all; undefine <&>', state: 'STOPPED', rootfs: undefined })
  t.deepEqual(own?.mounts, [
    { ...mount, source: disks.get(id) ?? '', destination: '/dev/vda', volume: undefined },
    { ...mount, source: data, destination: '/dev/vdb', volume: 'main/data' },
    {
      ...mount,
      source: 'iscsi:iqn.2026-01.example:Disk/1',
      destination: '/dev/vdd',
      volume: 'iscsi:iqn.2026-01.example:disk',
      readonly: true,
    },
  ])
  await t.throwsAsync(driver.find('--all; undefine <&>', never), { code: 'invalid' })
  t.regex(
    (await driver.readConfig(id, never)).files['domain.xml']?.toString() ?? '',
    /<name>--all; undefine &lt;&amp;&gt;</,
  )
})

it('one without an agent in it stands still, but has not written what it holds; nobody makes one here', async (t) => {
  await using freeze = await driver.freeze({ id: await running(), maxMs: 60_000, signal: never })
  t.like(await freeze.thaw(), { intact: true, isFlushed: false })
  const making = [driver.create, driver.rename, driver.destroy, driver.unmake]
  t.deepEqual(making, [undefined, undefined, undefined, undefined])
})

it('a domain whose memory is kept is SAVED: it is neither frozen nor stopped, and goes on where it was', async (t) => {
  const id = await running()
  await until('it counts', () => ticks(id) > 0)
  room().virsh('managedsave', '--domain', id)
  t.is((await driver.find(id, never))?.state, 'SAVED')
  await t.throwsAsync(driver.freeze({ id, maxMs: 1_000, signal: never }), { code: 'conflict' })
  await t.throwsAsync(driver.stop(id, { graceMs: 0, signal: never }), { code: 'conflict' })
  const before = ticks(id)
  await driver.start(id, never)
  await until('it goes on', () => ticks(id) > before)
  t.is((await driver.find(id, never))?.state, 'RUNNING')
})

it('a domain that is defined nowhere is not stopped, as it would be gone', async (t) => {
  const id = await running()
  room().virsh('undefine', '--domain', id)
  await t.throwsAsync(driver.stop(id, { graceMs: 0, signal: never }), { code: 'conflict' })
  room().virsh('destroy', '--domain', id)
  t.is(await driver.find(id, never), undefined)
})

test('images below a disk are disks of their own, and what is no domain is not read', (t) => {
  const xml = `<domain type='kvm' id='1'><name>a &lt;b&gt;</name><metadata><x:y xmlns:x='u'><name>no</name></x:y></metadata>
    <devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/top.qcow2' index='1'/>
    <backingStore type='file' index='2'><format type='raw'/><source file='/base.raw'/><backingStore/></backingStore>
    <mirror type='file'><source file='/mirror.raw'/></mirror><target dev='vda' bus='virtio'/></disk>
    <disk type='block' device='lun'><source dev='/dev/sdx'/><target dev='sda'/></disk>
    <disk type='volume' device='disk'><source pool='p' volume='v'/><target dev='vdb'/></disk>
    <disk type='file' device='disk'><target dev='vdc'/></disk>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='disconnected'/></channel></devices></domain>`
  const { name, disks, hasAgent } = readDomainXml(xml)
  t.deepEqual([name, hasAgent], ['a <b>', false])
  t.deepEqual(
    disks.map(({ target, source, isLocal, readonly }) => [target, source, isLocal, readonly]),
    [
      ['vda', '/top.qcow2', true, false],
      ['vda#1', '/base.raw', true, true],
      ['sda', '/dev/sdx', true, false],
      ['vdb', 'pool:p/v', false, false],
    ],
  )
  t.true(readDomainXml(xml.replace('disconnected', 'connected')).hasAgent)
  for (const bad of ['', '<domain>', '<!DOCTYPE a [<!ENTITY b "c">]><domain><name>x</name></domain>', '<domain/>'])
    t.throws(() => readDomainXml(bad), { code: 'internal' }, bad)
})

test('a libvirt that is not there is unavailable, and its domains are nobody’s', async (t) => {
  const uri = 'qemu+unix:///system?socket=/nowhere/libvirt-sock'
  const absent = createLibvirtDriver({ uri, watchdogs: createWatchdogs(notes), volumeAt })
  await t.throwsAsync(absent.list(never), { code: 'unavailable' })
})
