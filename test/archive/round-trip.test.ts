import { execFileSync } from 'node:child_process'
import { closeSync, createReadStream, mkdirSync, openSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { extractTar } from '../../agent/archive/extract-tar.ts'
import { verify } from '../../agent/archive/verify.ts'
import { calm, canArchive, closeChain, extractTo, openChain, runRestoreScript, writePoint } from '../harness/archive.ts'
import { sharedMounts } from '../harness/loop-mount.ts'
import { seenAs, Trees, treeDifferences, type WalkedTree, withoutSockets } from '../harness/nasty-tree.ts'

const mount = sharedMounts(test)

interface Made {
  readonly trees: Trees
  readonly home: string
  readonly tree: string
  /** The tree as the walker sees it, without what no archive carries. */
  readonly expected: WalkedTree
}

/** The nasty tree and a point of it, made once for each file system. */
const made = new Map<string, Promise<Made>>()
async function nastyPoint(fileSystem: 'ext4' | 'btrfs'): Promise<Made> {
  const making = made.get(fileSystem) ?? makeNastyPoint(fileSystem)
  made.set(fileSystem, making)
  return making
}

async function makeNastyPoint(fileSystem: 'ext4' | 'btrfs'): Promise<Made> {
  const trees = new Trees()
  const home = mount(fileSystem)
  const tree = join(home, 'tree')
  await trees.nasty(tree, join(home, 'outside'))
  const { problems, totals } = await writePoint({ tree, points: home, name: 'point' })
  if (totals.problems > 0 || problems.length !== 1 || problems[0]?.reason !== 'socket')
    throw new Error(JSON.stringify(problems))
  return { trees, home, tree, expected: withoutSockets(await trees.walk(tree)) }
}

test.after.always(async () => {
  for (const making of made.values()) (await making.catch(() => undefined))?.trees[Symbol.dispose]()
})

function shell(script: string, ...args: readonly string[]): void {
  execFileSync('/bin/bash', ['-ec', `set -o pipefail; ${script}`, 'round-trip', ...args], {
    stdio: 'pipe',
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8' },
  })
}

/** Extracts somebody's tar into a new directory, and removes it. */
async function extractForeign(file: string, into: string): Promise<void> {
  mkdirSync(into)
  const rootFd = openSync(into, 'r')
  const policy = { devices: 'make', symlinks: 'keep' } as const
  const source = createReadStream(file, { highWaterMark: 2 ** 20 })
  await extractTar({ subject: 'restore', source, compression: 'none', maxBytes: 2 ** 33, rootFd, policy }, calm)
  closeSync(rootFd)
  rmSync(file)
}

/** Compares what was restored, and removes it: the mounts are small. */
async function isSame(
  t: ExecutionContext,
  { trees }: Pick<Made, 'trees'>,
  directory: string,
  expected: WalkedTree,
  see: (tree: WalkedTree) => WalkedTree = (tree) => tree,
) {
  try {
    t.deepEqual(treeDifferences(see(await trees.walk(directory)), see(expected)), [])
  } finally {
    await trees.forget(directory)
  }
}

for (const fileSystem of ['ext4', 'btrfs'] as const) {
  test.serial(`a nasty tree on ${fileSystem} comes back exactly, seen by another walker`, async (t) => {
    if (!canArchive(t)) return t.pass()
    const all = await nastyPoint(fileSystem)
    await extractTo(join(all.home, 'back'), { points: all.home, names: ['point'] })
    await isSame(t, all, join(all.home, 'back'), all.expected)
    const chain = await openChain(all.home, ['point'])
    const [point] = chain.points
    if (point === undefined) return t.fail()
    const { damagedCount, files } = await verify({ subject: 'verify', point, scratch: all.home }, calm)
    t.deepEqual({ damagedCount, files }, { damagedCount: 0, files: Object.keys(all.expected).length })
    await closeChain(chain)
    t.deepEqual(
      readdirSync(all.home)
        .toSorted()
        .filter((name) => name !== 'lost+found'),
      ['outside', 'point', 'tree'],
    )
  })
}

for (const fileSystem of ['ext4', 'btrfs'] as const) {
  test.serial(`a tree on ${fileSystem} deeper than any path comes back, of our making and of GNU tar's`, async (t) => {
    if (!canArchive(t)) return t.pass()
    const { trees, home } = await nastyPoint(fileSystem)
    await trees.deep(join(home, 'deep'))
    const expected = await trees.walk(join(home, 'deep'))
    await writePoint({ tree: join(home, 'deep'), points: home, name: 'deep-point' })
    await extractTo(join(home, 'deep-back'), { points: home, names: ['deep-point'] })
    await isSame(t, { trees }, join(home, 'deep-back'), expected)
    shell('tar -cf "$2" --format=pax -C "$1" .', join(home, 'deep'), join(home, 'deep.tar'))
    await extractForeign(join(home, 'deep.tar'), join(home, 'deep-back'))
    await isSame(t, { trees }, join(home, 'deep-back'), expected)
    await trees.forget(join(home, 'deep'))
  })
}

/** Names whose times are before 1970 and no whole seconds: bsdtar 3.6 has the fraction on the wrong side, both ways. */
const MISTAKEN = new Set(['less', 'block', 'emptydir'])

/** It also sets no time on the directory it extracts into, and takes GNU's escapes in an attribute's name for the name. */
const asBsdtarReads = (tree: WalkedTree) =>
  seenAs(tree, (path, entry) => {
    const isMisread = path === '' || MISTAKEN.has(path)
    const attributes = Object.fromEntries(Object.entries(entry.attributes).filter(([name]) => !/[=%]/.test(name)))
    return { ...entry, attributes, mtimeNs: isMisread ? '' : entry.mtimeNs }
  })

const READERS: Readonly<Record<string, readonly [command: string, see: (tree: WalkedTree) => WalkedTree]>> = {
  'GNU tar': ['tar -xpf - --numeric-owner --acls --xattrs --xattrs-include="*"', (tree) => tree],
  bsdtar: ['bsdtar -xpf - --numeric-owner --acls --xattrs', asBsdtarReads],
}

for (const [tool, [command, see]] of Object.entries(READERS)) {
  test.serial(`${tool} restores the nasty tree from what was written`, async (t) => {
    if (!canArchive(t)) return t.pass()
    const all = await nastyPoint('ext4')
    const into = join(all.home, 'by-other')
    mkdirSync(into)
    shell(`zstd -dcq "$1/data.tar.zst" | ${command} -C "$2"`, join(all.home, 'point'), into)
    await isSame(t, all, into, all.expected, see)
  })
}

test.serial('the script of a point restores the nasty tree', async (t) => {
  if (!canArchive(t)) return t.pass()
  const all = await nastyPoint('ext4')
  runRestoreScript(join(all.home, 'point'), join(all.home, 'by-script'), join(all.home, 'bin'))
  await isSame(t, all, join(all.home, 'by-script'), all.expected)
})

/** GNU tar knows hard links of files alone. */
const asGnuWrites = (tree: WalkedTree) =>
  seenAs(tree, (_, entry) => {
    const { sameAs, ...rest } = entry
    return entry.kind === 'file' ? entry : rest
  })

const asBsdtarWrites = (tree: WalkedTree) =>
  seenAs(tree, (path, entry) => (MISTAKEN.has(path) ? { ...entry, mtimeNs: '' } : entry))

const WRITERS: Readonly<Record<string, readonly [command: string, see: (tree: WalkedTree) => WalkedTree]>> = {
  'GNU tar': ['tar -cSf "$2" --format=pax --numeric-owner --acls --xattrs --xattrs-include="*" -C "$1" .', asGnuWrites],
  bsdtar: ['bsdtar -cf "$2" --format=pax --numeric-owner --acls --xattrs -C "$1" .', asBsdtarWrites],
}

for (const [tool, [command, see]] of Object.entries(WRITERS)) {
  test.serial(`what ${tool} wrote of the nasty tree is restored`, async (t) => {
    if (!canArchive(t)) return t.pass()
    const all = await nastyPoint('ext4')
    const [file, back] = [join(all.home, 'foreign.tar'), join(all.home, 'foreign')]
    shell(command, all.tree, file)
    await extractForeign(file, back)
    await isSame(t, all, back, all.expected, see)
  })
}
