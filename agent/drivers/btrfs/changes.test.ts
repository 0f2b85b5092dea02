import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { linkSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { watch } from '../../../test/contracts/driver-contract.ts'
import { canMount, sharedMounts } from '../../../test/harness/loop-mount.ts'
import { inspectTree, mutateTree } from '../../../test/harness/mutate-tree.ts'
import type { ChangeList, Driver } from '../driver.ts'
import { openDriver } from '../registry.ts'
import { NameReplay } from './name-replay.ts'
import { SendStream } from './send-stream.ts'

const shared = sharedMounts(test)

async function open(t: ExecutionContext): Promise<Driver | undefined> {
  if (!canMount(t)) return undefined
  return openDriver({ name: 'a', path: join(shared('btrfs'), randomUUID()), driver: 'btrfs' })
}

async function snap(driver: Driver, source: string): Promise<{ readonly image: string; readonly mountpoint: string }> {
  const image = randomUUID()
  return { image, mountpoint: (await driver.snapshot({ source, target: image, readonly: true }, watch)).mountpoint }
}

function covers(list: ChangeList, path: string): boolean {
  return list.some((change) => change.path === path || (change.subtree && path.startsWith(`${change.path}/`)))
}

test('whatever happens to a tree, everything that differs is in the list', async (t) => {
  const driver = await open(t)
  if (driver?.changes === undefined) return t.pass()
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0 }), fc.integer({ min: 1, max: 60 }), async (seed, steps) => {
      const source = randomUUID()
      const { mountpoint } = await driver.create(source, watch)
      mutateTree(mountpoint, seed, 60)
      const base = await snap(driver, source)
      // The same, but a snapshot of something else: these two are compared by the kernel.
      const foreign = await snap(driver, base.image)
      mutateTree(mountpoint, seed + 1, steps)
      const image = await snap(driver, source)
      const [before, after] = [inspectTree(base.mountpoint), inspectTree(image.mountpoint)]
      const differing = [...new Set([...before.keys(), ...after.keys()])].filter(
        (path) => before.get(path) !== after.get(path),
      )
      for (const older of [base, foreign]) {
        const list = await driver.changes?.({ base: older.image, image: image.image }, watch)
        if (list === undefined) throw new Error('no list')
        const missing = differing.filter((path) => !covers(list, path))
        if (missing.length > 0) throw new Error(`not in the list: ${JSON.stringify(missing)}`)
      }
    }),
    { numRuns: 25, endOnFailure: true },
  )
  t.pass()
})

test('of an unchanged tree the list is empty, of a little it is short', async (t) => {
  const driver = await open(t)
  if (driver?.changes === undefined) return t.pass()
  const source = randomUUID()
  const { mountpoint } = await driver.create(source, watch)
  mkdirSync(join(mountpoint, 'd'))
  for (let file = 0; file < 100; file += 1) writeFileSync(join(mountpoint, 'd', `f${file}`), 'x')
  const [base, same] = [await snap(driver, source), await snap(driver, source)]
  t.deepEqual(await driver.changes({ base: base.image, image: same.image }, watch), [])
  writeFileSync(join(mountpoint, 'd', 'f7'), 'y')
  const image = await snap(driver, source)
  t.deepEqual(await driver.changes({ base: base.image, image: image.image }, watch), [{ path: 'd/f7', subtree: false }])
  execFileSync('/bin/mv', [join(mountpoint, 'd'), join(mountpoint, 'e')])
  const moved = await snap(driver, source)
  const list = await driver.changes({ base: image.image, image: moved.image }, watch)
  t.deepEqual(
    list
      ?.filter(({ subtree }) => subtree)
      .map(({ path }) => path)
      .sort(),
    ['d', 'e'],
  )
})

test('all names of a file are in the list, more than one answer of the kernel holds', async (t) => {
  const driver = await open(t)
  if (driver?.changes === undefined) return t.pass()
  const source = randomUUID()
  const { mountpoint } = await driver.create(source, watch)
  writeFileSync(join(mountpoint, 'first'), 'x')
  const names = ['first']
  for (let directory = 0; directory < 30; directory += 1) {
    mkdirSync(join(mountpoint, `d${directory}`))
    for (let link = 0; link < 100; link += 1) {
      const name = `d${directory}/${'l'.repeat(150)}${link}`
      names.push(name)
      linkSync(join(mountpoint, 'first'), join(mountpoint, name))
    }
  }
  const base = await snap(driver, source)
  writeFileSync(join(mountpoint, 'd3', `${'l'.repeat(150)}3`), 'y')
  const image = await snap(driver, source)
  const list = await driver.changes({ base: base.image, image: image.image }, watch)
  t.deepEqual([...new Set(list?.map(({ path }) => path))].sort(), names.sort())
})

test('no list where there is nothing to compare with', async (t) => {
  const driver = await open(t)
  if (driver?.changes === undefined) return t.pass()
  const source = randomUUID()
  await driver.create(source, watch)
  const { image } = await snap(driver, source)
  t.is(await driver.changes({ base: randomUUID(), image }, watch), undefined)
  t.is(await driver.changes({ base: source, image }, watch), undefined, 'a base that can be written to')
  const gone = driver.changes({ base: image, image: randomUUID() }, watch)
  await t.throwsAsync(gone, { code: 'not_found' })
  const aborted = { ...watch, signal: AbortSignal.abort() }
  await t.throwsAsync(async () => driver.changes?.({ base: image, image }, aborted), { code: 'cancelled' })
})

test('a stream that is cut, or is none, is no list', (t) => {
  const header = Buffer.concat([Buffer.from('btrfs-stream\0'), Buffer.from([1, 0, 0, 0])])
  const end = Buffer.from([0, 0, 0, 0, 21, 0, 0, 0, 0, 0])
  const take = () => undefined
  const whole = new SendStream(take)
  for (const byte of Buffer.concat([header, end])) whole.push(Buffer.from([byte]))
  t.notThrows(() => whole.finish())
  const cut = new SendStream(take)
  cut.push(header)
  t.throws(() => cut.finish(), { code: 'internal' })
  t.throws(() => new SendStream(take).push(Buffer.from('something else than that')), { code: 'internal' })
  t.throws(() => new SendStream(take).push(Buffer.concat([header, Buffer.alloc(10, 0xff)])), { code: 'internal' })
  const unknown = Buffer.from([0, 0, 0, 0, 99, 0, 0, 0, 0, 0])
  t.throws(() => new SendStream(take).push(Buffer.concat([header, unknown])), { code: 'internal' })
})

test('a directory however large may go, but of names that change each only so many are kept', (t) => {
  const replay = new NameReplay()
  replay.apply({ kind: 'rename', path: 'd', other: 'o300-7-0' })
  for (let file = 0; file < 30_000; file += 1) replay.apply({ kind: 'unlink', path: `o300-7-0/f${file}`, other: '' })
  replay.apply({ kind: 'rmdir', path: 'o300-7-0', other: '' })
  t.deepEqual(replay.finish().changes, [{ path: 'd', subtree: true }])
  const change = () => {
    for (let file = 0; file < 30_000; file += 1) replay.apply({ kind: 'utimes', path: `e/f${file}`, other: '' })
  }
  t.throws(change, { code: 'too_large' })
})
