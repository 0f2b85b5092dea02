import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, linkSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'
import {
  calm,
  canArchive,
  closeChain,
  describeTree,
  differences,
  differencesByScript,
  extractTo,
  openChain,
  openDataset,
  runRestoreScript,
  writePoint,
} from '../../test/harness/archive.ts'
import { sharedMounts } from '../../test/harness/loop-mount.ts'
import { mutateTree } from '../../test/harness/mutate-tree.ts'
import { openDriver } from '../drivers/registry.ts'

const shared = sharedMounts(test)
const POOLS = [
  { driver: 'reflink', on: 'xfs' },
  { driver: 'copy', on: 'ext4' },
] as const
/** What changed less long before a clone gets no stamp. */
const SETTLED_MS = 2_100

async function open(t: ExecutionContext, { driver: name, on }: (typeof POOLS)[number]) {
  if (!canArchive(t)) return undefined
  const { driver, source, live, home } = await openDataset({ on: shared(on), driver: name })
  const images: string[] = []
  const names: string[] = []
  const stampsOf = (point: number) => join(home, `stamps${point}`)
  return {
    live,
    home,
    images,
    stampsOf,
    async snapshot() {
      const target = randomUUID()
      const stamps = stampsOf(images.length)
      const { mountpoint } = await driver.snapshot({ source, target, readonly: true, stamps }, calm)
      images.push(mountpoint)
    },
    async archive(stamps = stampsOf(images.length - 1)) {
      const place = { tree: images.at(-1) ?? '', points: home, name: `p${names.length}` }
      const chain = names.length === 0 ? undefined : await openChain(home, names)
      const base = chain === undefined ? {} : { base: { points: names.slice(), lines: chain.lines(calm.signal) } }
      const { totals } = await writePoint(place, { ...base, stamps })
      if (chain !== undefined) await closeChain(chain)
      names.push(place.name)
      return totals.members
    },
    async wrong(point: number) {
      const into = join(home, 'back')
      await extractTo(into, { points: home, names: names.slice(0, point + 1) })
      // The driver's own note is in no archive.
      execFileSync('/usr/bin/setfattr', ['-x', 'trusted.holdfast.cow', images[point] ?? ''])
      const expected = describeTree(images[point] ?? '')
      const found = differences(describeTree(into), expected)
      rmSync(into, { recursive: true })
      runRestoreScript(join(home, `p${point}`), into, join(home, 'bin'))
      const byScript = differencesByScript(describeTree(into), expected).map((line) => `script: ${line}`)
      rmSync(into, { recursive: true })
      return [...found, ...byScript]
    },
  }
}

for (const pool of POOLS) {
  const title = `${pool.driver} on ${pool.on}`

  test(`${title}: the next image of an unchanged tree has nothing new, of a changed file that and its parents`, async (t) => {
    const backups = await open(t, pool)
    if (backups === undefined) return t.pass()
    mutateTree(backups.live, 7, 80)
    mkdirSync(join(backups.live, 'own'))
    writeFileSync(join(backups.live, 'own', 'file'), 'before')
    await pause(SETTLED_MS)
    await backups.snapshot()
    t.true((await backups.archive()) > 2)
    await backups.snapshot()
    t.is(await backups.archive(), 0)
    writeFileSync(join(backups.live, 'own', 'file'), 'behind')
    await backups.snapshot()
    t.is(await backups.archive(), 3)
    for (const point of backups.images.keys()) t.deepEqual(await backups.wrong(point), [], `point ${point}`)
  })

  test(`${title}: names of a file below a directory that moved stay names of those elsewhere, for plain tar too`, async (t) => {
    const backups = await open(t, pool)
    if (backups === undefined) return t.pass()
    for (const name of ['moves', 'stays']) mkdirSync(join(backups.live, name))
    for (const name of ['a', 'b']) {
      writeFileSync(join(backups.live, 'moves', name), name)
      linkSync(join(backups.live, 'moves', name), join(backups.live, 'stays', name))
    }
    await pause(SETTLED_MS)
    await backups.snapshot()
    await backups.archive()
    renameSync(join(backups.live, 'moves'), join(backups.live, 'moved'))
    await backups.snapshot()
    t.is(await backups.archive(), 5, 'the root, what moved, and that it is gone')
    t.true(existsSync(join(backups.home, 'p1', 'links.tar.zst')))
    t.deepEqual(await backups.wrong(1), [])
  })

  test(`${title}: whatever happens to a tree, each point of five is its image`, async (t) => {
    const backups = await open(t, pool)
    if (backups === undefined) return t.pass()
    mutateTree(backups.live, 100, 80)
    for (let round = 0; round < 5; round += 1) {
      await pause(SETTLED_MS)
      await backups.snapshot()
      await backups.archive()
      mutateTree(backups.live, 101 + round, 15)
    }
    for (const point of backups.images.keys()) t.deepEqual(await backups.wrong(point), [], `point ${point}`)
  })

  test(`${title}: files that change behind their time while they are cloned are never taken for unchanged`, async (t) => {
    const backups = await open(t, pool)
    if (backups === undefined) return t.pass()
    const files = Array.from({ length: 200 }, (_, file) => join(backups.live, `f${file}`))
    for (const file of files) writeFileSync(file, 'A'.repeat(5_000))
    const stop = new SharedArrayBuffer(4)
    const rewrite = `
      const { writeFileSync, utimesSync } = require('node:fs')
      const { workerData: { files, stop } } = require('node:worker_threads')
      for (let turn = 0; Atomics.load(new Int32Array(stop), 0) === 0; turn += 1) {
        const file = files[(turn * 7) % files.length]
        writeFileSync(file, 'ABCDEFGH'[turn % 8].repeat(5000), { flag: 'r+' }); utimesSync(file, 1, 1)
      }`
    const writer = new Worker(rewrite, { eval: true, workerData: { files, stop } })
    const ended = new Promise((resolve) => writer.once('exit', resolve))
    for (let round = 0; round < 5; round += 1) {
      await backups.snapshot()
      await backups.archive()
    }
    Atomics.store(new Int32Array(stop), 0, 1)
    await ended
    await backups.snapshot()
    await backups.archive()
    t.deepEqual(execFileSync('/usr/bin/diff', ['-r', backups.live, backups.images.at(-1) ?? '']).toString(), '')
    for (const point of backups.images.keys()) t.deepEqual(await backups.wrong(point), [], `point ${point}`)
  })

  test(`${title}: what somebody wrote into an image is sent, and is not taken for the live file later`, async (t) => {
    const backups = await open(t, pool)
    if (backups === undefined) return t.pass()
    writeFileSync(join(backups.live, 'a'), 'live')
    await pause(SETTLED_MS)
    await backups.snapshot()
    await pause(10)
    writeFileSync(join(backups.images[0] ?? '', 'a'), 'evil')
    await backups.archive()
    await backups.snapshot()
    t.is(await backups.archive(), 2, 'the file and its parent')
    t.deepEqual(await backups.wrong(1), [])
  })

  test(`${title}: stamps of another image are refused, and none are left by a snapshot that failed`, async (t) => {
    const backups = await open(t, pool)
    if (backups === undefined) return t.pass()
    await backups.snapshot()
    await backups.snapshot()
    await t.throwsAsync(backups.archive(backups.stampsOf(0)), { code: 'conflict' })
    await t.throwsAsync(backups.archive(join(backups.home, 'none')), { code: 'not_found' })
    const driver = await openDriver({ name: 'a', path: join(backups.home, '..'), driver: pool.driver })
    const stamps = join(backups.home, 'never')
    const request = { source: randomUUID(), target: randomUUID(), readonly: true, stamps }
    await t.throwsAsync(driver.snapshot(request, calm), { code: 'not_found' })
    t.false(existsSync(stamps) || existsSync(`${stamps}.partial`))
  })
}
