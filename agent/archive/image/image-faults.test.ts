import { execFileSync } from 'node:child_process'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { ageKeys } from '../../../test/harness/age.ts'
import { calm, closeChain, openChain } from '../../../test/harness/archive.ts'
import { isSameFile, makeImage, restoreTo, writeImagePoint } from '../../../test/harness/images.ts'
import { canMount, temporaryDirectory } from '../../../test/harness/loop-mount.ts'
import { runRestore } from '../../../test/harness/restore-run.ts'
import { lacksTool, testUnless } from '../../../test/harness/system-packages.ts'
import { encryptedSink } from '../age/encrypted-sink.ts'
import { keepingIndex, keptIndexFiles } from '../age/kept-index.ts'
import { Chain } from '../chain.ts'
import { LocalSink } from '../local-sink.ts'
import { Point } from '../point.ts'
import { writeArchive } from '../write-archive.ts'
import { changedChunks } from './changed-chunks.ts'
import { compareImage } from './compare-image.ts'
import { chunkBytesFor, chunkCount, shapeText } from './image-shape.ts'
import { restoreImage } from './restore-image.ts'
import { parseShape } from './shape-file.ts'

const withAge = testUnless(lacksTool('age', 'age-keygen'))
const CHUNK = 2 ** 18
const shape = { sizeBytes: 4 * CHUNK, chunkBytes: CHUNK }

test('chunks are 256 KiB until there would be more than 2^20, and no other shape is read', (t) => {
  t.is(chunkBytesFor(65_536), 2 ** 18)
  t.is(chunkBytesFor(2 ** 38), 2 ** 18)
  t.is(chunkBytesFor(2 ** 38 + 65_536), 2 ** 19)
  t.is(chunkBytesFor(2 ** 50), 2 ** 30)
  t.deepEqual(parseShape(shapeText(shape)), shape)
  t.is(chunkCount({ sizeBytes: 2 ** 50, chunkBytes: 2 ** 18 }), 2 ** 32)
  for (const text of [
    '',
    '{}',
    shapeText({ sizeBytes: 0, chunkBytes: CHUNK }),
    shapeText({ sizeBytes: 2 ** 51, chunkBytes: 2 ** 30 }),
    shapeText({ sizeBytes: 2 ** 20, chunkBytes: 2 ** 17 }),
    shapeText({ sizeBytes: 2 ** 20, chunkBytes: 3 * 2 ** 18 }),
    shapeText({ sizeBytes: 2 ** 20, chunkBytes: 2 ** 31 }),
    shapeText({ sizeBytes: 2.5, chunkBytes: CHUNK }),
  ])
    t.throws(() => parseShape(text), { code: 'corrupt' }, text)
})

test('what cannot be read of an image is told, and read again by the next increment whatever its extents say', async (t) => {
  const home = temporaryDirectory(t)
  const image = makeImage(home)
  const fd = openSync(image, 'r')
  t.teardown(() => closeSync(fd))
  // It was as long as this when its size was asked for: chunk 4 ends within, 5 is not there.
  truncateSync(image, 4 * CHUNK + 1_000)
  const settings = { subject: 'backup', compression: 'zstd', scratch: home } as const
  const source = { fd, sizeBytes: 6 * CHUNK, chunkBytes: CHUNK }
  const written = await writeArchive({ ...settings, sink: new LocalSink(home, 'p0'), image: source }, calm)
  t.deepEqual(written.problems, [
    { path: 'chunks/00000004', reason: 'changed' },
    { path: 'chunks/00000005', reason: 'changed' },
  ])
  t.is(written.totals.problems, 2)
  const back = readFileSync(await restoreTo(join(home, 'back'), { points: home, names: ['p0'] }))
  t.is(back.length, 6 * CHUNK)
  t.true(back.subarray(0, 4 * CHUNK + 1_000).equals(readFileSync(image)))
  t.true(back.subarray(4 * CHUNK + 1_000).equals(Buffer.alloc(2 * CHUNK - 1_000)))
  makeImage(home)
  const chain = await openChain(home, ['p0'])
  const base = { points: ['p0'], chain }
  const next = { ...source, fd: openSync(image, 'r'), only: new Uint32Array() }
  const mended = await writeArchive({ ...settings, sink: new LocalSink(home, 'p1'), base, image: next }, calm)
  closeSync(next.fd)
  t.deepEqual(mended.problems, [])
  t.is(mended.totals.members, 3)
  t.true(isSameFile(await restoreTo(join(home, 'mended'), { points: home, names: ['p0', 'p1'] }), image))
  await closeChain(chain)
})

test('an image that is written to while it is read makes the point partial', async (t) => {
  const home = temporaryDirectory(t)
  const image = join(home, 'image')
  writeFileSync(image, Buffer.alloc(8 * CHUNK, 'z'))
  const fd = openSync(image, 'r+')
  t.teardown(() => closeSync(fd))
  const local = new LocalSink(home, 'p')
  let isWritten = false
  const sink = {
    commit: () => local.commit(),
    abort: () => local.abort(),
    // There are more frames than are kept in memory, so the thread waits for the first of them in the middle of the image.
    open: async (name: string, signal: AbortSignal) => {
      const file = await local.open(name, signal)
      const write = (bytes: Uint8Array) => {
        if (!isWritten) writeSync(fd, 'now', 0)
        isWritten = true
        return file.write(bytes)
      }
      return { write, close: () => file.close() }
    },
  }
  const source = { fd, sizeBytes: 8 * CHUNK, chunkBytes: CHUNK }
  const settings = { subject: 'backup', compression: 'none', scratch: home, frameBytes: CHUNK } as const
  const written = await writeArchive({ ...settings, sink, image: source }, calm)
  t.deepEqual(written.problems, [{ path: 'volume.json', reason: 'changed' }])
})

test('chunks of many megabytes are read in pieces, and a size beyond the volume is zeros', async (t) => {
  const home = temporaryDirectory(t)
  const image = join(home, 'image')
  writeFileSync(image, Buffer.alloc(5 * 2 ** 20, 'first'))
  truncateSync(image, 40 * 2 ** 20)
  const fd = openSync(image, 'r+')
  writeSync(fd, 'in the third', 30 * 2 ** 20)
  writeSync(fd, 'at the end', 40 * 2 ** 20 - 10)
  closeSync(fd)
  const chunkBytes = 8 * 2 ** 20
  const { totals } = await writeImagePoint({ image, points: home, name: 'p0', chunkBytes })
  t.is(totals.members, 3 + 3)
  const same = await writeImagePoint({ image, points: home, name: 'p1', bases: ['p0'] })
  t.is(same.totals.members, 0)
  const sizeBytes = 64 * 2 ** 20
  const larger = await restoreTo(join(home, 'larger'), { points: home, names: ['p0', 'p1'], sizeBytes })
  truncateSync(image, sizeBytes)
  t.true(isSameFile(larger, image))
  await t.throwsAsync(restoreTo(join(home, 'less'), { points: home, names: ['p0'], sizeBytes: 2 ** 20 }), {
    code: 'conflict',
  })
})

test('a cancel ends writing and restoring soon, and leaves nothing of a point', async (t) => {
  const home = temporaryDirectory(t)
  const image = join(home, 'image')
  writeFileSync(image, Buffer.alloc(64 * 2 ** 20, 'y'))
  const cancelling = () => {
    const cancel = new AbortController()
    const progress = ({ bytes = 0 }) => {
      if (bytes > 0) cancel.abort()
    }
    return { signal: cancel.signal, progress }
  }
  mkdirSync(join(home, 'points'))
  await t.throwsAsync(writeImagePoint({ image, points: join(home, 'points'), name: 'p' }, cancelling()), {
    code: 'cancelled',
  })
  t.deepEqual(readdirSync(join(home, 'points')), [])
  await writeImagePoint({ image, points: home, name: 'p' })
  const ended = new AbortController()
  ended.abort()
  await t.throwsAsync(restoreTo(join(home, 'b'), { points: home, names: ['p'] }, { ...calm, signal: ended.signal }))
})

test('every chunk that differs is found when an image is compared, and data where there is none', async (t) => {
  const home = temporaryDirectory(t)
  const image = makeImage(home)
  await writeImagePoint({ image, points: home, name: 'p' })
  const chain = await openChain(home, ['p'])
  const found = async (act: (path: string) => void) => {
    const path = makeImage(home)
    act(path)
    const fd = openSync(path, 'r')
    const { count, paths } = await compareImage({ subject: 'rehearse', chain, fd }, calm)
    closeSync(fd)
    t.is(count, paths.length)
    return paths
  }
  const put = (at: number) => (path: string) => {
    const fd = openSync(path, 'r+')
    writeSync(fd, 'Z', at)
    closeSync(fd)
  }
  t.deepEqual(await found(put(3 * CHUNK - 1)), ['chunks/00000002'])
  t.deepEqual(await found(put(CHUNK + 5)), ['chunks/00000001'])
  t.deepEqual(await found((path) => truncateSync(path, 2 * CHUNK)), [
    ...['volume.json', 'chunks/00000002', 'chunks/00000004'],
  ])
  const larger = (path: string) => truncateSync(path, 6 * CHUNK + 65_536)
  t.deepEqual(await found(larger), [])
  const longer = (path: string) => {
    larger(path)
    put(6 * CHUNK + 1)(path)
  }
  t.deepEqual(await found(longer), ['volume.json'])
  await closeChain(chain)
})

test('a block device is read, and one that held something else becomes the volume', async (t) => {
  if (!canMount(t)) return t.pass()
  const home = temporaryDirectory(t)
  const image = makeImage(home)
  const source = loopDevice(t, image)
  const fd = openSync(source, 'r')
  const settings = { subject: 'backup', compression: 'zstd', scratch: home } as const
  const asked = { fd, sizeBytes: 6 * CHUNK, chunkBytes: CHUNK }
  const { totals, problems } = await writeArchive({ ...settings, sink: new LocalSink(home, 'p'), image: asked }, calm)
  t.deepEqual([totals.members, problems], [6, []])
  t.is(await changedChunks({ baseFd: fd, fd, chunkBytes: CHUNK }), undefined)
  closeSync(fd)
  const held = join(home, 'held')
  writeFileSync(held, Buffer.alloc(8 * CHUNK, 'old'))
  const target = loopDevice(t, held)
  const into = openSync(target, 'r+')
  const chain = await openChain(home, ['p'])
  const done = await restoreImage({ subject: 'restore', chain, fd: into, scratch: home }, calm)
  t.is(done.bytes, 3 * CHUNK)
  t.deepEqual(await compareImage({ subject: 'rehearse', chain, fd: into }, calm), { count: 0, paths: [] })
  closeSync(into)
  const bytes = readFileSync(target)
  t.true(bytes.subarray(0, 6 * CHUNK).equals(readFileSync(image)))
  t.true(bytes.subarray(6 * CHUNK).equals(Buffer.alloc(2 * CHUNK)), 'zeros behind it')
  truncateSync(join(home, 'image'), CHUNK)
  const small = openSync(loopDevice(t, join(home, 'image')), 'r+')
  await t.throwsAsync(restoreImage({ subject: 'restore', chain, fd: small, scratch: home }, calm), { code: 'conflict' })
  closeSync(small)
  await closeChain(chain)
})

function loopDevice(t: ExecutionContext, image: string): string {
  const device = execFileSync('/sbin/losetup', ['--find', '--show', image]).toString().trim()
  t.teardown(() => execFileSync('/sbin/losetup', ['--detach', device]))
  return device
}

withAge(
  'an encrypted chain of a volume is written by the indexes that are kept, and restored by its script',
  async (t) => {
    const home = temporaryDirectory(t)
    const keys = ageKeys()
    writeFileSync(join(home, 'identity'), `${keys.identity}\n`)
    mkdirSync(join(home, 'index'))
    const image = makeImage(home)
    const fd = openSync(image, 'r+')
    const settings = { subject: 'backup', compression: 'zstd', scratch: home } as const
    const source = { fd, sizeBytes: 6 * CHUNK, chunkBytes: CHUNK }
    const sinkOf = (name: string) =>
      keepingIndex(encryptedSink(new LocalSink(home, name), [keys.recipient]), join(home, 'index', name))
    await writeArchive({ ...settings, sink: sinkOf('p0'), image: source }, calm)
    writeSync(fd, Buffer.alloc(CHUNK), 0, CHUNK, 2 * CHUNK)
    writeSync(fd, 'new', 5 * CHUNK)
    const chain = Chain.of([await Point.open(keptIndexFiles(join(home, 'index', 'p0')), calm.signal)])
    const { totals } = await writeArchive(
      {
        ...settings,
        sink: sinkOf('p1'),
        image: { ...source, only: Uint32Array.of(2, 5) },
        base: { points: ['p0'], chain },
      },
      calm,
    )
    await closeChain(chain)
    closeSync(fd)
    t.is(totals.members, 2 + 1 + 1)
    const into = join(home, 'script')
    mkdirSync(into)
    const [bin, tools] = [join(home, 'bin'), ['age', 'tar', 'zstd', 'sha256sum', 'cat', 'dd', 'rm']]
    const run = runRestore({ point: join(home, 'p1'), into, bin, tools, identity: join(home, 'identity') })
    t.deepEqual(run, { status: 0, complaint: '' })
    t.true(isSameFile(join(into, 'image'), image))
  },
)
