import { randomUUID } from 'node:crypto'
import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext, type TestFn } from 'ava'
import { driverContract, watch } from '../../../test/contracts/driver-contract.ts'
import { canMount, mountLoop, sharedMounts } from '../../../test/harness/loop-mount.ts'
import { detectDriver, openDriver } from '../registry.ts'

const POOLS = [
  { driver: 'reflink', on: 'xfs' },
  { driver: 'reflink', on: 'btrfs' },
  { driver: 'copy', on: 'ext4' },
  { driver: 'copy', on: 'btrfs' },
] as const

/** The same test under a title that tells the pool. */
function titled(prefix: string): TestFn {
  const prefixed = (title: string, body: (t: ExecutionContext) => unknown) => test(`${prefix}: ${title}`, body)
  // The contract only ever calls `test(title, body)`.
  return prefixed as TestFn
}

const shared = sharedMounts(test)

for (const { driver, on } of POOLS) {
  const openIn = (mount: (t: ExecutionContext) => string) => async (t: ExecutionContext) => {
    if (!canMount(t)) return undefined
    const path = join(mount(t), randomUUID())
    return { driver: await openDriver({ name: 'a', path, driver }), path }
  }
  const open = openIn(() => shared(on))
  driverContract(titled(`${driver} on ${on}`), { open, openSmall: openIn((t) => mountLoop(t, on)) })

  test(`${driver} on ${on}: cancelling a snapshot ends it and leaves nothing`, async (t) => {
    const pool = await open(t)
    if (!pool) return t.pass()
    const [source, target] = [randomUUID(), randomUUID()]
    const { mountpoint } = await pool.driver.create(source, watch)
    for (let d = 0; d < 30; d += 1) {
      mkdirSync(join(mountpoint, `d${d}`))
      for (let f = 0; f < 100; f += 1) writeFileSync(join(mountpoint, `d${d}`, `f${f}`), 'x')
    }
    const cancel = new AbortController()
    const snapshot = pool.driver.snapshot({ source, target, readonly: true }, { ...watch, signal: cancel.signal })
    setImmediate(() => cancel.abort())
    await t.throwsAsync(snapshot, { code: 'cancelled' })
    t.deepEqual(readdirSync(join(pool.path, 'datasets')), [source])
  })
}

test('a copy pool copies even where blocks could be shared', async (t) => {
  if (!canMount(t)) return t.pass()
  const mountPoint = mountLoop(t, 'btrfs', 256 * 2 ** 20)
  const driver = await openDriver({ name: 'a', path: join(mountPoint, 'pool'), driver: 'copy' })
  const [source, target] = [randomUUID(), randomUUID()]
  const { mountpoint } = await driver.create(source, watch)
  writeFileSync(join(mountpoint, 'a'), Buffer.alloc(16 * 2 ** 20, 'x'))
  const before = (await driver.usage()).freeBytes
  const image = await driver.snapshot({ source, target, readonly: true }, watch)
  t.false(image.cow)
  t.is(statSync(join(image.mountpoint, 'a')).size, 16 * 2 ** 20)
  t.true(before - (await driver.usage()).freeBytes > 15 * 2 ** 20)
})

for (const [on, expected] of [
  ['xfs', 'reflink'],
  ['ext4', 'copy'],
] as const) {
  test(`${on} carries ${expected}`, async (t) => {
    if (!canMount(t)) return t.pass()
    t.is(await detectDriver(join(shared(on), 'detected')), expected)
  })
}
