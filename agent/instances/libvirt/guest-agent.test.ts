import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { hang, never } from '../../../test/contracts/instances-contract.ts'
import { findLibvirtRoom } from '../../../test/harness/libvirt-room.ts'
import { buildLinuxGuest, lacksLinuxGuest } from '../../../test/harness/linux-guest.ts'
import { testUnless } from '../../../test/harness/system-packages.ts'
import { until } from '../../../test/harness/until.ts'
import { createWatchdogs } from '../watchdog.ts'
import { createLibvirtDriver } from './libvirt-driver.ts'

const lacks = lacksLinuxGuest()
const opened = lacks === undefined ? await findLibvirtRoom() : undefined
const it = testUnless(lacks ?? opened?.lacks)
const notes = mkdtempSync('/var/tmp/holdfast-notes-')
const BOOT_MS = 240_000
const DISK_BYTES = 16 * 2 ** 20

test.after.always(async () => {
  await opened?.room?.[Symbol.asyncDispose]()
  rmSync(notes, { recursive: true, force: true })
})

/** Whether a journal would have to be read: what it says is not yet where it belongs. A frozen ext4 has none. */
function needsRecovery(disk: string): boolean {
  const told = execFileSync('/usr/sbin/dumpe2fs', ['-h', disk], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  return /^Filesystem features:.* needs_recovery/m.test(told)
}

it('file systems of a domain whose agent answers are frozen with it, and go on whatever becomes of who froze them', async (t) => {
  if (opened?.room === undefined) throw new Error('no libvirt')
  const { room } = opened
  const folder = join(room.base, 'guest')
  mkdirSync(folder)
  const { kernel, initrd } = buildLinuxGuest(folder)
  const disk = join(folder, 'disk.raw')
  writeFileSync(disk, '')
  truncateSync(disk, DISK_BYTES)
  execFileSync('/usr/sbin/mkfs.ext4', ['-q', disk])
  const channel = `<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <serial type='file'><source path='${join(folder, 'console')}'/></serial>`
  const id = room.define('linux', [disk], { devices: channel, kernel, initrd, memoryMib: 160 })
  const driver = createLibvirtDriver({ uri: room.uri, watchdogs: createWatchdogs(notes), volumeAt: () => undefined })
  await driver.start(id, never)
  await until('its agent listens', () => room.virsh('domfsinfo', '--domain', id).includes('/data'), BOOT_MS)
  t.true(needsRecovery(disk))

  const freeze = await driver.freeze({ id, maxMs: 60_000, signal: never })
  t.is((await driver.find(id, never))?.state, 'FROZEN')
  t.false(needsRecovery(disk))
  const end = await freeze.thaw()
  t.like(end, { intact: true, isFlushed: true })
  t.log(`held ${Math.round(end.heldMs)} ms`)
  await until('its file systems go on', () => needsRecovery(disk))

  const hanger = hang({ type: 'libvirt', place: room.uri, notes }, id, 60_000)
  await hanger.said('frozen')
  t.false(needsRecovery(disk))
  hanger.signal('SIGKILL')
  await until('its file systems go on', () => needsRecovery(disk), 60_000)
  await until('the watchdog ended', () => readdirSync(notes).length === 0)
  t.is((await driver.find(id, never))?.state, 'RUNNING')
})
