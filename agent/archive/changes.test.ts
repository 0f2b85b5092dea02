import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { zstdDecompressSync } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import {
  calm,
  canArchive,
  closeChain,
  describeTree,
  differences,
  differencesByScript,
  extractTo,
  makeNastyTree,
  openChain,
  runRestoreScript,
  writePoint,
} from '../../test/harness/archive.ts'
import { sharedMounts } from '../../test/harness/loop-mount.ts'
import { mutateTree } from '../../test/harness/mutate-tree.ts'
import { THOROUGHNESS } from '../../test/harness/thoroughness.ts'
import type { Driver } from '../drivers/driver.ts'
import { openDriver } from '../drivers/registry.ts'
import type { Change } from './wanted.ts'

const shared = sharedMounts(test)
const RUNS = 3 * THOROUGHNESS
const ROUNDS = 5

/** A dataset, its images, and the points made of them in `home`. */
class Backups {
  readonly home: string
  readonly source = randomUUID()
  readonly names: string[] = []
  readonly images: { readonly dataset: string; readonly mountpoint: string }[] = []
  mountpoint = ''
  readonly #driver: Driver

  constructor(driver: Driver, home: string) {
    this.#driver = driver
    this.home = home
  }

  async snapshot(): Promise<string> {
    if (this.mountpoint === '') this.mountpoint = (await this.#driver.create(this.source, calm)).mountpoint
    const dataset = randomUUID()
    const { mountpoint } = await this.#driver.snapshot({ source: this.source, target: dataset, readonly: true }, calm)
    this.images.push({ dataset, mountpoint })
    return mountpoint
  }

  /** What changed between the last two images. */
  async list(): Promise<readonly Change[] | undefined> {
    const [base, image] = this.images.slice(-2)
    return this.#driver.changes?.({ base: base?.dataset ?? '', image: image?.dataset ?? '' }, calm)
  }

  async write(name: string, list?: readonly Change[]) {
    const tree = this.images.at(-1)?.mountpoint ?? ''
    if (this.names.length === 0) return writePoint({ tree, points: this.home, name })
    const chain = await openChain(this.home, this.names)
    const changes = list === undefined ? {} : { changes: { chain, list } }
    const base = { points: this.names.slice(), lines: chain.lines(calm.signal), ...changes }
    const written = await writePoint({ tree, points: this.home, name }, { base })
    await closeChain(chain)
    return written
  }

  /** The next point, by the list; the first is a full one. */
  async point(): Promise<{ readonly members: number; readonly list: readonly Change[] }> {
    await this.snapshot()
    const list = this.names.length === 0 ? [] : await this.list()
    if (list === undefined) throw new Error('no list')
    const name = `p${this.names.length}`
    const { totals } = await this.write(name, list)
    this.names.push(name)
    return { members: totals.members, list }
  }

  /** @returns in what a restored point differs from its image */
  async wrong(point: number): Promise<readonly string[]> {
    const into = join(this.home, `back${point}`)
    await extractTo(into, { points: this.home, names: this.names.slice(0, point + 1) })
    const expected = describeTree(this.images[point]?.mountpoint ?? '')
    const found = differences(describeTree(into), expected)
    rmSync(into, { recursive: true })
    runRestoreScript(join(this.home, `p${point}`), into, join(this.home, 'bin'))
    const byScript = differencesByScript(describeTree(into), expected).map((line) => `script: ${line}`)
    rmSync(into, { recursive: true })
    return [...found, ...byScript]
  }

  /** The lines of a point's index. */
  index(name: string): Buffer {
    const stored = readFileSync(join(this.home, name, 'index.ndjson.zst'))
    return stored.length === 0 ? stored : zstdDecompressSync(stored)
  }

  sh(script: string): void {
    execFileSync('/bin/sh', ['-ec', script], { cwd: this.mountpoint, stdio: 'pipe' })
  }
}

async function open(t: ExecutionContext): Promise<Backups | undefined> {
  if (!canArchive(t)) return undefined
  const path = join(shared('btrfs'), randomUUID())
  const driver = await openDriver({ name: 'a', path, driver: 'btrfs' })
  // On the same file system: how many names a directory says it has differs from one to the next.
  const backups = new Backups(driver, join(path, 'backups'))
  mkdirSync(backups.home)
  backups.mountpoint = (await driver.create(backups.source, calm)).mountpoint
  return backups
}

test('an increment by a list is, byte for byte, what a walk makes, and a chain of five restores each point', async (t) => {
  if (!canArchive(t)) return t.pass()
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0 }), fc.integer({ min: 1, max: 30 }), async (seed, steps) => {
      const backups = await open(t)
      if (backups === undefined) return
      mutateTree(backups.mountpoint, seed, 60)
      await backups.point()
      for (let round = 1; round <= ROUNDS; round += 1) {
        mutateTree(backups.mountpoint, seed + round, steps)
        await backups.snapshot()
        const list = await backups.list()
        if (list === undefined) throw new Error('no list')
        const [name, walked] = [`p${round}`, `w${round}`]
        await backups.write(name, list)
        await backups.write(walked)
        if (!backups.index(name).equals(backups.index(walked)))
          throw new Error(differences(backups.index(name).toString(), backups.index(walked).toString()).join('\n'))
        const sums = (point: string) => readFileSync(join(backups.home, point, 'sums'), 'utf8')
        if (sums(name) !== sums(walked)) throw new Error(`${sums(name)}\n${sums(walked)}`)
        rmSync(join(backups.home, walked), { recursive: true })
        backups.names.push(name)
      }
      for (let point = 0; point <= ROUNDS; point += 1) {
        const wrong = await backups.wrong(point)
        if (wrong.length > 0) throw new Error(`point ${point}: ${wrong.join('\n')}`)
      }
    }),
    { numRuns: RUNS, endOnFailure: true },
  )
  t.pass()
})

test('nothing changed: nothing is looked at, and the point is whole', async (t) => {
  const backups = await open(t)
  if (backups === undefined) return t.pass()
  makeNastyTree(backups.mountpoint)
  await backups.point()
  t.deepEqual(await backups.point(), { members: 0, list: [] })
  t.deepEqual(await backups.wrong(1), [])
  runRestoreScript(join(backups.home, 'p1'), join(backups.home, 'script'), join(backups.home, 'bin'))
  t.true(existsSync(join(backups.home, 'script', 'plain')))
})

test('directories that are swapped, moved and deleted, names that come and go, and an end of everything', async (t) => {
  const backups = await open(t)
  if (backups === undefined) return t.pass()
  backups.sh(
    'mkdir -p a/x b/y deep/er/est; echo 1 > a/x/f; echo 2 > b/y/f; echo 3 > b/g; echo one > n1; ln n1 n2; ln n1 a/n3; echo z > deep/er/est/z',
  )
  await backups.point()
  backups.sh('mv a t; mv b a; mv t b')
  await backups.point()
  t.true(existsSync(join(backups.home, 'p1', 'links.tar.zst')), 'n1 and n2 are where they were, a/n3 is not')
  backups.sh('rm n1; ln n2 deep/n4; rm b/n3')
  await backups.point()
  backups.sh('echo more >> deep/n4; mv deep/er moved; rm -r a/y; echo file > a/y')
  await backups.point()
  backups.sh('rm -rf ./*')
  await backups.point()
  backups.sh('mkdir a; echo again > a/x')
  await backups.point()
  for (const point of backups.names.keys()) {
    t.deepEqual(await backups.wrong(point), [], `point ${point}`)
    runRestoreScript(
      join(backups.home, `p${point}`),
      join(backups.home, `script${point}`),
      join(backups.home, `bin${point}`),
    )
    const expected = describeTree(backups.images[point]?.mountpoint ?? '')
    const scripted = describeTree(join(backups.home, `script${point}`))
    t.deepEqual(differences(scripted, expected), [], `script of ${point}`)
  }
})

test('only what the list names is looked at', async (t) => {
  const backups = await open(t)
  if (backups === undefined) return t.pass()
  backups.sh('mkdir -p d/e; echo a > d/a; echo b > d/e/b')
  await backups.point()
  backups.sh('echo other > d/a; echo other > d/e/b')
  await backups.snapshot()
  const { totals } = await backups.write('p1', [{ path: 'd/a', subtree: false }])
  t.is(totals.members, 3, 'd/a and its parents')
})

test('no list once the image below is gone: a walk finds the same', async (t) => {
  const backups = await open(t)
  if (backups === undefined) return t.pass()
  backups.sh('mkdir d; echo a > d/a; echo b > b')
  await backups.point()
  const driver = await openDriver({ name: 'a', path: join(backups.home, '..'), driver: 'btrfs' })
  backups.sh('rm b; echo c > c')
  await backups.snapshot()
  await driver.destroy(backups.images[0]?.dataset ?? '', calm)
  t.is(await backups.list(), undefined)
  const { totals } = await backups.write('p1')
  backups.names.push('p1')
  t.is(totals.members, 3)
  t.deepEqual(await backups.wrong(1), [])
})

test('after a point with problems the list is not trusted: what could not be read is tried again', async (t) => {
  const backups = await open(t)
  if (backups === undefined) return t.pass()
  backups.sh("echo a > a; python3 -c \"import os\nfor _ in range(2100): os.mkdir('d'); os.chdir('d')\"")
  await backups.point()
  await backups.snapshot()
  const { problems } = await backups.write('p1', [])
  t.deepEqual(
    problems.map(({ reason }) => reason),
    ['too-deep'],
  )
})

test('a socket is no problem: after it the list is trusted', async (t) => {
  const backups = await open(t)
  if (backups === undefined) return t.pass()
  backups.sh('echo a > a; python3 -c "import socket; socket.socket(socket.AF_UNIX).bind(\'s\')"')
  await backups.point()
  backups.sh('echo b > a; echo c > c')
  await backups.snapshot()
  const { totals } = await backups.write('p1', [{ path: 'c', subtree: false }])
  t.is(totals.members, 2, 'c and its directory')
})
