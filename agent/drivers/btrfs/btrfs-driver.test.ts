import { randomUUID } from 'node:crypto'
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { driverContract, watch } from '../../../test/contracts/driver-contract.ts'
import { canMount, mountLoop, sharedMounts } from '../../../test/harness/loop-mount.ts'
import { createSubvolume, destroySubvolume, subvolumeUuid } from '../../native/btrfs.ts'
import { detectDriver, openDriver } from '../registry.ts'

const shared = sharedMounts(test)

const openIn = (mount: (t: ExecutionContext) => string) => async (t: ExecutionContext) => {
  if (!canMount(t)) return undefined
  const path = join(mount(t), randomUUID())
  return { driver: await openDriver({ name: 'a', path, driver: 'btrfs' }), path }
}
const open = openIn(() => shared('btrfs'))

driverContract(test, { open, openSmall: openIn((t) => mountLoop(t, 'btrfs')) })

test('btrfs is found by looking', async (t) => {
  if (!canMount(t)) return t.pass()
  t.is(await detectDriver(join(shared('btrfs'), 'detected')), 'btrfs')
})

test('a snapshot taken twice is not nested into the first', async (t) => {
  const pool = await open(t)
  if (!pool) return t.pass()
  const [source, target] = [randomUUID(), randomUUID()]
  await pool.driver.create(source, watch)
  const { mountpoint } = await pool.driver.snapshot({ source, target, readonly: false }, watch)
  const fd = openSync(mountpoint, 'r')
  const uuid = subvolumeUuid(fd)
  closeSync(fd)
  await pool.driver.snapshot({ source, target, readonly: false }, watch)
  const again = openSync(mountpoint, 'r')
  t.is(subvolumeUuid(again), uuid)
  closeSync(again)
})

test('a dataset with nested subvolumes is not destroyed, and says why', async (t) => {
  const pool = await open(t)
  if (!pool) return t.pass()
  const dataset = randomUUID()
  const { mountpoint } = await pool.driver.create(dataset, watch)
  const fd = openSync(mountpoint, 'r')
  await createSubvolume(fd, 'nested')
  closeSync(fd)
  writeFileSync(join(mountpoint, 'nested', 'a'), '')
  await t.throwsAsync(pool.driver.destroy(dataset, watch), { code: 'conflict', message: /nested subvolumes/ })
})

test('a dataset with nested subvolumes is not snapshotted, because they would be left out', async (t) => {
  const pool = await open(t)
  if (!pool) return t.pass()
  const [dataset, target] = [randomUUID(), randomUUID()]
  const { mountpoint } = await pool.driver.create(dataset, watch)
  const fd = openSync(mountpoint, 'r')
  await createSubvolume(fd, 'nested')
  const request = { source: dataset, target, readonly: true }
  await t.throwsAsync(pool.driver.snapshot(request, watch), { code: 'conflict', message: /nested subvolumes/ })
  t.is(await pool.driver.find(target), undefined)
  await destroySubvolume(fd, 'nested')
  closeSync(fd)
  await t.notThrowsAsync(pool.driver.snapshot(request, watch))
})

test('a pool that is not on btrfs is refused', async (t) => {
  const directory = join('/var/tmp', `holdfast-test-${randomUUID()}`)
  mkdirSync(directory)
  t.teardown(() => import('node:fs').then(({ rmSync }) => rmSync(directory, { recursive: true })))
  await t.throwsAsync(openDriver({ name: 'a', path: directory, driver: 'btrfs' }), { code: 'invalid' })
})
