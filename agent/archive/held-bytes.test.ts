import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { calm, closeChain, openChain, writePoint } from '../../test/harness/archive.ts'
import { temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { HeldBytes } from './held-bytes.ts'
import { TarBytes } from './read/tar-bytes.ts'

/** Their lines fill some frames of the index. */
const FILES = 5_000
const EVERY = 50

test('memory is given back when the last who holds it lets go', (t) => {
  const held = new HeldBytes(Buffer.allocUnsafeSlow(4_096))
  const other = held.hold()
  held[Symbol.dispose]()
  t.is(other.bytes.length, 4_096)
  other[Symbol.dispose]()
  t.is(other.bytes.length, 0)
})

test('who reads an index while others look things up elsewhere in it reads all of it', async (t) => {
  const { tree, points } = newPlace(t)
  for (let n = 0; n < FILES; n += 1) writeFileSync(join(tree, nameOf(n)), '')
  await writePoint({ tree, points, name: 'p0' })
  const chain = await openChain(points, ['p0'])
  t.teardown(() => closeChain(chain))
  const [point] = chain.points
  if (point === undefined) throw new Error('no point')
  t.true(point.table.index.length > 2)
  let [entries, bytes] = [0, 0]
  for await (const _ of point.entries('', calm.signal)) {
    entries += 1
    if (entries % EVERY === 0)
      t.truthy(await point.find(nameOf((FILES * ((entries / EVERY) % 3)) / 3 + 1), calm.signal))
  }
  t.is(entries, FILES + 1)
  for await (const piece of point.lines(calm.signal)) {
    await point.find(nameOf(FILES - 1), calm.signal)
    await point.find(nameOf(1), calm.signal)
    bytes += piece.length
  }
  t.is(
    bytes,
    point.table.index.reduce((sum, { rawBytes }) => sum + rawBytes, 0),
  )
})

test('who reads a tar while others read elsewhere in it reads all of it', async (t) => {
  const { tree, points } = newPlace(t)
  for (let n = 0; n < 4; n += 1) writeFileSync(join(tree, `file-${n}`), Buffer.alloc(2 ** 20 + 1, n + 1))
  await writePoint({ tree, points, name: 'p0' })
  const chain = await openChain(points, ['p0'])
  t.teardown(() => closeChain(chain))
  const [point] = chain.points
  if (point === undefined) throw new Error('no point')
  const { rawBytes } = point.table.totals
  const tar = new TarBytes(point, calm.signal)
  let bytes = 0
  for await (const piece of tar.pieces(0, rawBytes)) {
    await tar.read(rawBytes - 512, 512)
    await tar.read(0, 512)
    bytes += piece.length
  }
  t.is(bytes, rawBytes)
})

function newPlace(t: ExecutionContext) {
  const home = temporaryDirectory(t)
  const [tree, points] = [join(home, 'tree'), join(home, 'points')]
  for (const path of [tree, points]) mkdirSync(path)
  return { tree, points }
}

function nameOf(n: number): string {
  return `${String(Math.floor(n)).padStart(6, '0')} ${'a long name '.repeat(8)}`
}
