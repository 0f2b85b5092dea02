import test from 'ava'
import { calm } from '../../../test/harness/archive.ts'
import { forgeImage } from '../../../test/harness/forged-image.ts'
import { temporaryDirectory } from '../../../test/harness/loop-mount.ts'
import { Point } from '../point.ts'
import { LocalPointFiles } from '../range-source.ts'
import { readStoredMap } from './stored-map.ts'
import { TarBytes } from './tar-bytes.ts'

const BLOCK = 512
const SIZE = 10_000
const blocks = (text: string) => Buffer.concat([Buffer.from(text)], Math.ceil(text.length / BLOCK) * BLOCK)

test('a map of holes is read only if it is one, and tells of all that is stored', async (t) => {
  const home = temporaryDirectory(t)
  const shape = { sizeBytes: 2 ** 20, chunkBytes: 2 ** 18 }
  const read = async (name: string, content: Buffer) => {
    const line = { holes: true, size: SIZE, storedSize: content.length }
    await forgeImage({ points: home, name }, { shape, members: [{ path: 'large', content, line }] })
    await using point = await Point.open(new LocalPointFiles(`${home}/${name}`), calm.signal)
    const member = await point.find('large', calm.signal)
    if (member === undefined) throw new Error('no member')
    return readStoredMap(member, new TarBytes(point, calm.signal))
  }
  const map = blocks('2\n0\n512\n10000\n0\n')
  t.deepEqual((await read('good', Buffer.concat([map, Buffer.alloc(512)]))).extents, [
    { offset: 0, size: 512 },
    { offset: SIZE, size: 0 },
  ])
  const wrong = [
    'x',
    '1\nx\n1',
    '1\n-5\n5',
    '1\n0.5\n1',
    '1\n1e1\n1',
    '1\n0\n',
    '2\n512\n1\n0\n1',
    '1\n9999\n2',
    '99999999999',
  ]
  for (const [index, text] of wrong.entries()) {
    const stored = Buffer.concat([blocks(`${text}\n`), Buffer.alloc(BLOCK)])
    await t.throwsAsync(read(`wrong-${index}`, stored), { code: 'corrupt' }, text)
  }
  // More, or less, is stored than it tells of.
  await t.throwsAsync(read('more', Buffer.concat([map, Buffer.alloc(1_024)])), { code: 'corrupt' })
  await t.throwsAsync(read('less', map), { code: 'corrupt' })
})
