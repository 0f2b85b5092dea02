import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  calm,
  canArchive,
  closeChain,
  describeTree,
  differences,
  extractTo,
  makeNastyTree,
  openChain,
  writePoint,
} from '../../test/harness/archive.ts'
import { mountLoop, temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { extract, isOfManyFiles } from './extract.ts'

const FILES = 5_000
const FILES_IN_DIRECTORY = 500
const POLICY = { devices: 'make', symlinks: 'keep' } as const

/** Enough that one thread reads them and another makes them. */
function makeManyFiles(tree: string): void {
  for (let file = 0; file < FILES; file += 1) {
    const directory = join(tree, `many-${Math.floor(file / FILES_IN_DIRECTORY)}`)
    if (file % FILES_IN_DIRECTORY === 0) mkdirSync(directory, { recursive: true })
    writeFileSync(join(directory, `file-${file}`), `${file}\n`.repeat(file % 800))
  }
}

async function isToldToAnother(points: string, names: readonly string[]): Promise<boolean> {
  const chain = await openChain(points, names)
  await closeChain(chain)
  return isOfManyFiles(chain, '')
}

async function failing(
  t: ExecutionContext,
  from: { readonly points: string; readonly into: string; readonly signal?: AbortSignal },
  progress: () => void = () => undefined,
) {
  const rootFd = openSync(from.into, 'r')
  const chain = await openChain(from.points, ['point'])
  const request = { subject: 'restore', chain, path: '', rootFd, policy: POLICY, scratch: from.points }
  try {
    const watch = { signal: from.signal ?? calm.signal, progress }
    return await t.throwsAsync<Error & { code?: string }>(extract(request, watch))
  } finally {
    await closeChain(chain)
    closeSync(rootFd)
  }
}

test('many files come back by two threads: of every kind, large ones too, and out of a chain', async (t) => {
  if (!canArchive(t)) return t.pass()
  const home = temporaryDirectory(t)
  const tree = join(home, 'tree')
  makeNastyTree(tree)
  makeManyFiles(tree)
  execFileSync('/bin/sh', ['-ec', 'head -c 5M /dev/urandom > large; ln many-3/file-1600 many-0/again'], { cwd: tree })
  await writePoint({ tree, points: home, name: 'p0' })
  t.true(await isToldToAnother(home, ['p0']))
  await extractTo(join(home, 'back'), { points: home, names: ['p0'] })
  t.deepEqual(differences(describeTree(join(home, 'back')), describeTree(tree)), [])
  execFileSync('/bin/sh', ['-ec', 'rm -r many-2; echo new > many-4/file-2000; ln large many-9/large'], { cwd: tree })
  const chain = await openChain(home, ['p0'])
  await writePoint({ tree, points: home, name: 'p1' }, { base: { points: ['p0'], lines: chain.lines(calm.signal) } })
  await closeChain(chain)
  const { files } = await extractTo(join(home, 'later'), { points: home, names: ['p0', 'p1'] })
  t.deepEqual(differences(describeTree(join(home, 'later')), describeTree(tree)), [])
  t.true(files > FILES - FILES_IN_DIRECTORY)
})

test('whichever of two threads fails, the restore ends with what it told', async (t) => {
  const home = temporaryDirectory(t)
  const tree = join(home, 'tree')
  makeManyFiles(tree)
  await writePoint({ tree, points: home, name: 'point' })
  t.true(await isToldToAnother(home, ['point']))

  // What makes them: no place, and a link where a directory is to be.
  const small = mountLoop(t, 'ext4')
  execFileSync('/bin/sh', ['-c', 'fallocate -l 4T full || dd if=/dev/zero of=full bs=1M 2> /dev/null || true'], {
    cwd: small,
    stdio: 'pipe',
  })
  t.is((await failing(t, { points: home, into: small }))?.code, 'no_space')
  const linked = join(home, 'linked')
  mkdirSync(linked)
  symlinkSync(home, join(linked, 'many-3'))
  const refused = await failing(t, { points: home, into: linked })
  t.is(refused?.code, 'refused')
  t.regex(refused?.message ?? '', /many-3/)
  t.false(readdirSync(home).some((name) => name.startsWith('file-')))

  // Who wants them.
  const cancel = new AbortController()
  const cancelled = join(home, 'cancelled')
  mkdirSync(cancelled)
  const progress = () => cancel.abort()
  t.is((await failing(t, { points: home, into: cancelled, signal: cancel.signal }, progress))?.code, 'cancelled')

  // What reads them.
  const data = join(home, 'point', 'data.tar.zst')
  const bytes = readFileSync(data)
  bytes.fill('damage', bytes.length >> 1, (bytes.length >> 1) + 6)
  writeFileSync(data, bytes)
  const damaged = join(home, 'damaged')
  mkdirSync(damaged)
  t.is((await failing(t, { points: home, into: damaged }))?.code, 'corrupt')
})
