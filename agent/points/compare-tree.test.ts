import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  closeSync,
  linkSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  calm,
  canArchive,
  closeChain,
  extractTo,
  makeNastyTree,
  openChain,
  writePoint,
} from '../../test/harness/archive.ts'
import { temporaryDirectory } from '../../test/harness/loop-mount.ts'
import type { Chain } from '../archive/chain.ts'
import { compareTree, type TreeDifferences } from './compare-tree.ts'

/** The nasty tree as a point, and as it was restored from it. */
async function restored(t: ExecutionContext) {
  const home = temporaryDirectory(t)
  const tree = join(home, 'tree')
  makeNastyTree(tree)
  await writePoint({ tree, points: home, name: 'point' })
  const chain = await openChain(home, ['point'])
  t.teardown(() => closeChain(chain))
  const copy = join(home, 'copy')
  await extractTo(copy, { points: home, names: ['point'] })
  return { chain, copy }
}

async function compared(chain: Chain, directory: string): Promise<TreeDifferences> {
  const fd = openSync(directory, 'r')
  try {
    return await compareTree(chain, fd, calm)
  } finally {
    closeSync(fd)
  }
}

test('a tree that was restored as it should be differs in nothing, holes and names of one file included', async (t) => {
  if (!canArchive(t)) return t.pass()
  const { chain, copy } = await restored(t)
  t.deepEqual(await compared(chain, copy), { count: 0, paths: [] })
})

function replaceLink(path: string): void {
  rmSync(path)
  symlinkSync('else', path)
}

test('whatever differs is named', async (t) => {
  if (!canArchive(t)) return t.pass()
  const { chain, copy } = await restored(t)
  const at = new Date('2020-01-01')
  const changes: [path: string, change: () => void][] = [
    ['a-b', () => chmodSync(join(copy, 'a-b'), 0o604)],
    ['a/x', () => rmSync(join(copy, 'a', 'x'))],
    ['empty', () => appendFileSync(join(copy, 'empty'), 'x')],
    ['quote"back\\slash', () => utimesSync(join(copy, 'quote"back\\slash'), at, at)],
    ['dangling', () => replaceLink(join(copy, 'dangling'))],
  ]
  for (const [, change] of changes) change()
  const { paths } = await compared(chain, copy)
  for (const [path] of changes) t.true(paths.includes(path), path)
})

test('attributes, ACLs and capabilities that differ are found', async (t) => {
  if (!canArchive(t)) return t.pass()
  const { chain, copy } = await restored(t)
  // Of several names of one file, the one that the archive has it under is told.
  const changes: [command: string, ...args: string[]][] = [
    ['setfattr', '-x', 'user.a', 'd/hard2'],
    ['setfattr', '-n', 'user.more', '-v', '1', 'big'],
    ['setfattr', '-h', '-x', 'trusted.t', 'hardsym'],
    ['setfattr', '-x', 'security.capability', 'empty'],
    ['setfacl', '-k', 'd'],
  ]
  for (const [tool, ...args] of changes) execFileSync(`/usr/bin/${tool}`, args, { cwd: copy })
  const { paths } = await compared(chain, copy)
  t.deepEqual(paths.toSorted(), changes.map((change) => change.at(-1)).toSorted())
})

/** What is there may be any byte. */
function flipByte(fd: number, at: number): void {
  const byte = Buffer.alloc(1)
  readSync(fd, byte, 0, 1, at)
  writeSync(fd, Buffer.of(~(byte[0] ?? 0)), 0, 1, at)
}

for (const [what, name, change] of [
  ['a byte of content', 'big', (fd: number) => flipByte(fd, 5_000_000)],
  ['a byte in the data of a file with holes', 'sparse', (fd: number) => writeSync(fd, 'X', 2 ** 20 + 3)],
  ['a byte in a hole', 'sparse', (fd: number) => writeSync(fd, 'X', 3 * 2 ** 30)],
] as const) {
  test(`${what} that differs is found although size and time are the same`, async (t) => {
    if (!canArchive(t)) return t.pass()
    const { chain, copy } = await restored(t)
    const path = join(copy, name)
    const reference = `${copy}-time`
    writeFileSync(reference, '')
    execFileSync('/usr/bin/touch', ['-r', path, reference])
    const fd = openSync(path, 'r+')
    change(fd)
    closeSync(fd)
    execFileSync('/usr/bin/touch', ['-r', reference, path])
    const { paths } = await compared(chain, copy)
    t.deepEqual(paths, [name])
  })
}

test('what is there and in no index is told', async (t) => {
  if (!canArchive(t)) return t.pass()
  const { chain, copy } = await restored(t)
  const found = async () => (await compared(chain, copy)).count
  t.is(await found(), 0)
  writeFileSync(join(copy, 'emptydir', 'extra'), '')
  t.true((await found()) > 0)
  rmSync(join(copy, 'emptydir', 'extra'))
  linkSync(join(copy, 'a.b'), join(copy, 'd', 'extra'))
  truncateSync(join(copy, 'allhole'), 2 ** 20)
  t.true((await found()) > 0)
  t.true(readdirSync(copy).length > 10)
})
