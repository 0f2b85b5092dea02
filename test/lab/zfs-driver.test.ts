import { randomUUID } from 'node:crypto'
import { linkSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import fc from 'fast-check'
import { openZfsDriver } from '../../agent/drivers/zfs/zfs-driver.ts'
import { driverContract, watch } from '../contracts/driver-contract.ts'
import { inspectTree, mutateTree } from '../harness/mutate-tree.ts'
import { testUnless } from '../harness/system-packages.ts'
import { lacksZfs, makeRoom, type Room, tool } from './room.ts'

const reason = lacksZfs()
const inZfs = testUnless(reason)
let made: Room | undefined

async function open() {
  if (reason !== undefined) return undefined
  made ??= makeRoom()
  return openIn(made)
}

let small: Room | undefined
/** What ZFS makes a pool of at the least is 64 MiB. */
async function openSmall() {
  small ??= makeRoom(96 * 2 ** 20, 'off')
  return openIn(small)
}

async function openIn(made: Room) {
  const root = `${made.pool}/p${randomUUID().slice(0, 8)}`
  tool('zfs', 'create', root)
  return {
    driver: await openZfsDriver(root),
    path: join(made.directory, 'mnt', root.slice(made.pool.length + 1)),
    root,
  }
}
test.after.always(() => {
  made?.close()
  small?.close()
})

// as: it declares its tests by calling it, which serial can do too
if (reason === undefined) driverContract(test.serial as typeof test, { open, openSmall, stages: false })

inZfs('images and what they came from can be destroyed in any sequence', async (t) => {
  const pool = await open()
  if (!pool) return
  const { driver, root } = pool
  const source = randomUUID()
  const images = Array.from({ length: 5 }, () => randomUUID())
  const { mountpoint } = await driver.create(source, watch)
  for (const [n, target] of images.entries()) {
    writeFileSync(join(mountpoint, 'a'), `${n}`)
    await driver.snapshot({ source, target, readonly: n % 2 === 0 }, watch)
  }
  const [first, second, third, fourth, fifth] = images
  await driver.destroy(third ?? '', watch)
  await driver.destroy(source, watch)
  for (const left of [first, second, fourth, fifth]) t.truthy(await driver.find(left ?? ''))
  await driver.sweep()
  for (const gone of [fifth, first, fourth, second]) await driver.destroy(gone ?? '', watch)
  t.is(tool('zfs', 'list', '-H', '-r', '-t', 'all', '-o', 'name', `${root}/datasets`).trim(), `${root}/datasets`)
})

inZfs('a snapshot of somebody else keeps a dataset, and is named; litter of ours is swept', async (t) => {
  const pool = await open()
  if (!pool) return
  const { driver, root } = pool
  const [source, image] = [randomUUID(), randomUUID()]
  await driver.create(source, watch)
  tool('zfs', 'snapshot', `${root}/datasets/${source}@operator`)
  tool('zfs', 'snapshot', `${root}/datasets/${source}@holdfast-${image}`)
  await driver.sweep()
  const left = tool('zfs', 'list', '-H', '-r', '-t', 'snapshot', '-o', 'name', root)
  t.is(left.trim(), `${root}/datasets/${source}@operator`)
  const failure = await t.throwsAsync(driver.destroy(source, watch), { code: 'conflict' } as object)
  t.deepEqual((failure as unknown as { blockers: unknown }).blockers, [`${root}/datasets/${source}@operator`])
})

inZfs(
  'what changed is told: names of all bytes, moves, what went; files with several names make it no list',
  async (t) => {
    const pool = await open()
    if (pool?.driver.changes === undefined) return
    const { driver } = pool
    const [source, base, image, last] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()]
    const { mountpoint } = await driver.create(source, watch)
    const at = (name: string) => Buffer.concat([Buffer.from(`${mountpoint}/`), Buffer.from(name, 'latin1')])
    for (const name of ['kept', 'odd \\ \xfc\n', 'gone', 'moved']) writeFileSync(at(name), 'a')
    mkdirSync(at('d'))
    await driver.snapshot({ source, target: base, readonly: true }, watch)
    writeFileSync(at('odd \\ \xfc\n'), 'b')
    rmSync(at('gone'))
    renameSync(at('moved'), at('elsewhere'))
    renameSync(at('d'), at('e'))
    await driver.snapshot({ source, target: image, readonly: true }, watch)
    const list = await driver.changes?.({ base, image }, watch)
    const named = list?.map(({ path, subtree }) => `${path}${subtree ? '/' : ''}`).sort()
    t.deepEqual(named, ['', 'd/', 'e/', 'elsewhere', 'gone', 'moved', 'odd \\ \xfc\n'])
    linkSync(at('kept'), at('second'))
    await driver.snapshot({ source, target: last, readonly: true }, watch)
    t.is(await driver.changes?.({ base: image, image: last }, watch), undefined)
  },
)

inZfs('whatever happens to a tree, everything that differs is in the list, or there is none', async (t) => {
  const pool = await open()
  if (pool?.driver.changes === undefined) return
  const { driver } = pool
  let lists = 0
  const check = fc.asyncProperty(fc.integer({ min: 0 }), fc.integer({ min: 1, max: 20 }), async (seed, steps) => {
    const [source, base, image] = [randomUUID(), randomUUID(), randomUUID()]
    const { mountpoint } = await driver.create(source, watch)
    mutateTree(mountpoint, seed, 30)
    const before = await driver.snapshot({ source, target: base, readonly: true }, watch)
    mutateTree(mountpoint, seed + 1, steps)
    const after = await driver.snapshot({ source, target: image, readonly: true }, watch)
    const list = await driver.changes?.({ base, image }, watch)
    if (list === undefined) return
    lists += 1
    const covers = (path: string) =>
      list.some((change) => change.path === path || (change.subtree && path.startsWith(`${change.path}/`)))
    const [old, now] = [inspectTree(before.mountpoint), inspectTree(after.mountpoint)]
    const names = new Set([...old.keys(), ...now.keys()])
    const missing = [...names].filter((path) => old.get(path) !== now.get(path) && !covers(path))
    if (missing.length > 0) throw new Error(`not in the list: ${JSON.stringify(missing)}`)
  })
  await fc.assert(check, { numRuns: RUNS, endOnFailure: true })
  t.log(`${lists} lists of ${RUNS}`)
  t.true(lists > 0)
})
const RUNS = 12
