import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  chmodSync,
  chownSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { LocalSink } from '../../agent/archive/local-sink.ts'
import type { ArchiveSink } from '../../agent/archive/sink.ts'
import { verify } from '../../agent/archive/verify.ts'
import { calm, canArchive, closeChain, extractTo, openChain, writePoint } from '../harness/archive.ts'
import { mountLoop, temporaryDirectory } from '../harness/loop-mount.ts'

/** Far more than the frames of one mebibyte that may lie between the reader and the sink. */
const BIG_BYTES = 24 * 2 ** 20

/** A sink that acts once, when the first frame comes: the reader then stands in the middle of the first big file. */
function actingSink(home: string, act: () => void): ArchiveSink {
  const local = new LocalSink(home, 'point')
  let acted = false
  return {
    commit: () => local.commit(),
    abort: () => local.abort(),
    open: async (name, signal) => {
      const file = await local.open(name, signal)
      return {
        close: () => file.close(),
        write: async (chunk) => {
          if (!acted) act()
          acted = true
          await file.write(chunk)
        },
      }
    },
  }
}

/** Members whose frames, headers or contents are not what the index says. */
async function damagedOf(home: string): Promise<readonly string[]> {
  const chain = await openChain(home, ['point'])
  const [point] = chain.points
  if (point === undefined) return ['no point']
  const { damaged } = await verify({ subject: 'verify', point, scratch: home }, calm)
  await closeChain(chain)
  return damaged
}

function overwrite(path: string, at: number, bytes: Buffer): void {
  const fd = openSync(path, 'r+')
  writeSync(fd, bytes, 0, bytes.length, at)
  closeSync(fd)
}

const isUniform = (bytes: Buffer) => bytes.every((byte) => byte === bytes[0])

/** What happens to `a` while it is read and `b` waits; the problems that are told, and whether `a` is as it was. */
const MOVES: Readonly<Record<string, readonly [act: (a: string, b: string) => void, problems: readonly unknown[]]>> = {
  grows: [(a) => appendFileSync(a, Buffer.alloc(BIG_BYTES, 'x')), [{ path: 'a', reason: 'changed' }]],
  shrinks: [(a) => truncateSync(a, 100), [{ path: 'a', reason: 'changed' }]],
  'is overwritten before where it is read': [
    (a) => overwrite(a, 0, Buffer.from('x')),
    [{ path: 'a', reason: 'changed' }],
  ],
  'is overwritten where it is not read yet': [
    (a) => overwrite(a, BIG_BYTES - 1, Buffer.from('x')),
    [{ path: 'a', reason: 'changed' }],
  ],
  'gets back its old time': [
    (a) =>
      execFileSync('/bin/sh', [
        '-c',
        'cp -p "$1" "$1.kept"; echo x >> "$1"; touch -r "$1.kept" "$1"; rm "$1.kept"',
        'sh',
        a,
      ]),
    [{ path: 'a', reason: 'changed' }],
  ],
  'goes before it is its turn': [(_, b) => unlinkSync(b), [{ path: 'b', reason: 'vanished' }]],
}

for (const [title, [act, problems]] of Object.entries(MOVES)) {
  test(`a file that ${title} makes the point partial, never wrong`, async (t) => {
    const home = temporaryDirectory(t)
    const tree = join(home, 'tree')
    const [a, b] = [join(tree, 'a'), join(tree, 'b')]
    mkdirSync(tree)
    writeFileSync(a, Buffer.alloc(BIG_BYTES, 'a'))
    writeFileSync(b, 'b')
    const sink = actingSink(home, () => act(a, b))
    const written = await writePoint({ tree, points: home, name: 'point' }, { sink })
    t.deepEqual(written.problems, problems)
    t.is(written.totals.problems, problems.length)
    t.deepEqual(await damagedOf(home), [])
    await extractTo(join(home, 'back'), { points: home, names: ['point'] })
    t.is(statSync(join(home, 'back', 'a')).size, BIG_BYTES)
    t.deepEqual(readdirSync(join(home, 'back')), title.startsWith('goes') ? ['a'] : ['a', 'b'])
  })
}

test('a file replaced while it is read is one of the two, whole', async (t) => {
  const home = temporaryDirectory(t)
  const tree = join(home, 'tree')
  mkdirSync(tree)
  writeFileSync(join(tree, 'a'), Buffer.alloc(BIG_BYTES, 'a'))
  writeFileSync(join(home, 'new'), Buffer.alloc(BIG_BYTES, 'n'))
  const sink = actingSink(home, () => renameSync(join(home, 'new'), join(tree, 'a')))
  await writePoint({ tree, points: home, name: 'point' }, { sink })
  await extractTo(join(home, 'back'), { points: home, names: ['point'] })
  t.true(isUniform(readFileSync(join(home, 'back', 'a'))))
})

const WRITER = `
import os, sys, random
files = [os.open(os.path.join(sys.argv[1], name), os.O_WRONLY) for name in sorted(os.listdir(sys.argv[1]))]
size = int(sys.argv[2])
print('writing', flush=True)
while True:
    os.pwrite(random.choice(files), bytes([random.randrange(256)]) * size, 0)
`

test('of files that somebody keeps writing to, what is not told as changed is of one moment', async (t) => {
  if (!canArchive(t)) return t.pass()
  const home = temporaryDirectory(t)
  const tree = join(home, 'tree')
  mkdirSync(tree)
  const size = 2 ** 20
  for (let file = 0; file < 40; file += 1) writeFileSync(join(tree, `f${file}`), Buffer.alloc(size, 'a'))
  const writer = spawn('/usr/bin/python3', ['-c', WRITER, tree, String(size)], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(writer.stdout, 'data')
  const written = await writePoint({ tree, points: home, name: 'point' }).finally(() => writer.kill('SIGKILL'))
  t.true(written.totals.problems > 0, 'the writer was fast enough to be seen')
  await extractTo(join(home, 'back'), { points: home, names: ['point'] })
  const told = new Set(written.problems.map(({ path }) => path))
  const torn = readdirSync(tree).filter((name) => !told.has(name) && !isUniform(readFileSync(join(home, 'back', name))))
  t.deepEqual(torn, [])
  t.deepEqual(await damagedOf(home), [])
})

/** Finds where the image of a file system keeps these bytes, and changes one of them. */
function rot(image: string, marker: Buffer): void {
  const fd = openSync(image, 'r+')
  const piece = Buffer.alloc(2 ** 20)
  for (let at = 0; readSync(fd, piece, 0, piece.length, at) > 0; at += piece.length) {
    const found = piece.indexOf(marker)
    if (found >= 0) writeSync(fd, Buffer.from('?'), 0, 1, at + found + 3)
  }
  closeSync(fd)
}

test.serial('a file that the disk cannot give is told, and the rest is there', async (t) => {
  if (!canArchive(t)) return t.pass()
  const mountPoint = mountLoop(t, 'btrfs')
  const image = join(mountPoint, '..', 'image')
  const home = temporaryDirectory(t)
  const tree = join(mountPoint, 'tree')
  mkdirSync(tree)
  const marker = 'bytes that are going to rot; '
  writeFileSync(join(tree, 'good'), Buffer.alloc(200_000, 'good'))
  writeFileSync(join(tree, 'rotten'), Buffer.concat([Buffer.alloc(65_536, 'before'), Buffer.alloc(65_536, marker)]))
  execFileSync('/bin/umount', [mountPoint])
  rot(image, Buffer.from(marker))
  execFileSync('/bin/mount', ['-o', 'loop', image, mountPoint])
  t.throws(() => readFileSync(join(tree, 'rotten')), { code: 'EIO' })
  const written = await writePoint({ tree, points: home, name: 'point' })
  t.deepEqual(written.problems, [{ path: 'rotten', reason: 'unreadable' }])
  t.deepEqual(await damagedOf(home), [])
  await extractTo(join(home, 'back'), { points: home, names: ['point'] })
  t.deepEqual(readFileSync(join(home, 'back', 'good')), readFileSync(join(tree, 'good')))
  t.is(statSync(join(home, 'back', 'rotten')).size, 131_072)
})

function canRead(file: string): boolean {
  try {
    closeSync(openSync(file, 'r'))
    return true
  } catch {
    return false
  }
}

/** `nobody` on every Debian. */
const NOBODY = 65_534

test.serial('what an agent without rights cannot read is told, and the rest is there', async (t) => {
  if (!canArchive(t)) return t.pass()
  const home = temporaryDirectory(t)
  const tree = join(home, 'tree')
  mkdirSync(join(tree, 'closed'), { recursive: true })
  writeFileSync(join(tree, 'closed', 'inside'), 'inside')
  for (const name of ['secret', 'public']) writeFileSync(join(tree, name), name)
  chmodSync(join(tree, 'secret'), 0o600)
  chmodSync(join(tree, 'closed'), 0o700)
  chownSync(home, NOBODY, NOBODY)
  process.seteuid?.(NOBODY)
  try {
    if (!canRead(join(import.meta.dirname, '../../agent/archive/write/write-worker.ts')))
      return t.log('SKIPPED: only root may read the sources here')
    const written = await writePoint({ tree, points: home, name: 'point' })
    t.deepEqual(written.problems, [
      { path: 'closed', reason: 'unreadable' },
      { path: 'secret', reason: 'unreadable' },
    ])
    t.is(written.totals.members, 2)
    t.deepEqual(await damagedOf(home), [])
  } finally {
    process.seteuid?.(0)
  }
})
