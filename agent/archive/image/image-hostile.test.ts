import { closeSync, existsSync, mkdirSync, openSync, statSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { calm, closeChain, openChain, writePoint } from '../../../test/harness/archive.ts'
import { chunk, directory, type ForgedMember, forgeImage, volumeFile } from '../../../test/harness/forged-image.ts'
import { makeImage, restoreTo, writeImagePoint } from '../../../test/harness/images.ts'
import { temporaryDirectory } from '../../../test/harness/loop-mount.ts'
import type { Chain } from '../chain.ts'
import { LocalSink } from '../local-sink.ts'
import { FLAGS, paxRecord } from '../tar-header.ts'
import { writeArchive } from '../write-archive.ts'
import { chunkMembers } from './chunk-members.ts'

const CHUNK = 2 ** 18
const shape = { sizeBytes: 4 * CHUNK, chunkBytes: CHUNK }
const full = Buffer.alloc(CHUNK, 'x')
const nothing = Buffer.alloc(0)
const first = 'chunks/00000000'

interface Forgery {
  readonly members: readonly ForgedMember[]
  readonly shape?: typeof shape
  /** The index is as it should be, but not what it is the index of. */
  readonly isBehindIndex?: boolean
}

const HOLES = ['major', '1', 'minor', '0', 'realsize', String(2 ** 40)]
const holes = [0, 2, 4].map((at) => paxRecord(`GNU.sparse.${HOLES[at]}`, HOLES[at + 1] ?? ''))
const strange: Readonly<Record<string, Forgery>> = {
  'a chunk behind the end': { members: [chunk(4, full)] },
  'a chunk that is too long': { members: [chunk(0, Buffer.alloc(CHUNK + 512, 'x'))] },
  'a chunk that is too short': { members: [chunk(0, full.subarray(512))] },
  'an empty chunk': { members: [chunk(0, nothing)] },
  'a last chunk that is longer than the volume': {
    members: [chunk(3, full)],
    shape: { sizeBytes: 3 * CHUNK + 65_536, chunkBytes: CHUNK },
  },
  'a chunk whose header has another size': {
    isBehindIndex: true,
    members: [chunk(0, full, { header: { size: 2 * CHUNK } }), chunk(1, full)],
  },
  'a chunk with holes': { members: [chunk(0, full, { line: { holes: true } })] },
  'a chunk whose header has holes': { isBehindIndex: true, members: [chunk(0, full, { header: { records: holes } })] },
  'a chunk without a hash': { members: [chunk(0, full, { line: { hash: undefined } })] },
  'a chunk of another hash': { isBehindIndex: true, members: [chunk(0, full, { line: { hash: 'a'.repeat(64) } })] },
  'a chunk of several names': { members: [chunk(0, full, { line: { links: 2 } })] },
  'a chunk that is a hard link': {
    members: [
      chunk(0, full),
      chunk(1, nothing, {
        line: { type: 'hardlink', link: first, linkOffset: 0, hash: undefined },
        header: { flag: FLAGS.hardlink, link: `./${first}` },
      }),
    ],
  },
  'a chunk that is a link': {
    members: [
      chunk(0, nothing, {
        line: { type: 'symlink', link: '/etc/passwd', hash: undefined },
        header: { flag: FLAGS.symlink, link: '/etc/passwd' },
      }),
    ],
  },
  'one chunk twice': { members: [chunk(1, full), chunk(1, full)] },
  'chunks in another order': { members: [chunk(1, full), chunk(0, full)] },
  'bytes that are named twice': {
    isBehindIndex: true,
    members: [chunk(0, full), chunk(1, full, { line: { offset: 0, dataOffset: 512 } })],
  },
  'a file that is no chunk': { members: [chunk(0, full), { path: 'chunks/0000000g', content: full }] },
  'a number in capitals': { members: [{ path: 'chunks/0000000A', content: full }] },
  'a directory that is a chunk': { members: [directory(first)] },
  'another name beside': { members: [chunk(0, full), { path: 'etc', content: full }] },
}

test('a volume is made of chunks alone, each once, in order and as long as it must be', async (t) => {
  const home = temporaryDirectory(t)
  const chains: Chain[] = []
  for (const [number, [title, forgery]] of Object.entries(strange).entries()) {
    const { members, shape: own = shape, isBehindIndex = false } = forgery
    const name = `p${number}`
    const all = [directory(''), directory('chunks'), ...members, volumeFile(own)]
    await forgeImage({ points: home, name }, { shape: own, members: all })
    const chain = await openChain(home, [name])
    chains.push(chain)
    const read = Array.fromAsync(chunkMembers(chain, own, calm.signal))
    if (!isBehindIndex) {
      await t.throwsAsync(read, { code: 'corrupt', message: /member '.+': / }, title)
      continue
    }
    await read
    const back = join(home, `back ${name}`)
    await t.throwsAsync(restoreTo(back, { points: home, names: [name] }), { code: 'corrupt' }, title)
    t.true(statSync(back).size <= own.sizeBytes, 'nothing behind its end')
  }
  for (const chain of chains) await closeChain(chain)
})

test('a shape that cannot be, or is not that of volume.json or of the chain, makes nothing', async (t) => {
  const home = temporaryDirectory(t)
  const tops = [directory(''), directory('chunks')]
  const other = { sizeBytes: 8 * CHUNK, chunkBytes: CHUNK }
  await forgeImage({ points: home, name: 'other' }, { shape, members: [...tops, chunk(0, full), volumeFile(other)] })
  await forgeImage({ points: home, name: 'without' }, { shape, members: [...tops, chunk(0, full)] })
  const endless = { sizeBytes: 2 ** 60, chunkBytes: CHUNK }
  await forgeImage({ points: home, name: 'endless' }, { shape: endless, members: [...tops, volumeFile(endless)] })
  const tiny = { sizeBytes: 2 ** 40, chunkBytes: 1 }
  await forgeImage({ points: home, name: 'tiny' }, { shape: tiny, members: [...tops, volumeFile(tiny)] })
  for (const name of ['other', 'without', 'endless', 'tiny'])
    await t.throwsAsync(restoreTo(join(home, 'back'), { points: home, names: [name] }), { code: 'corrupt' }, name)
  t.true(statSync(join(home, 'back')).size <= 4 * CHUNK)
})

test('points of trees and of volumes, or of other chunks, are no chain', async (t) => {
  const home = temporaryDirectory(t)
  mkdirSync(join(home, 'tree'))
  await writePoint({ tree: join(home, 'tree'), points: home, name: 'tree-point' })
  await t.throwsAsync(restoreTo(join(home, 'back'), { points: home, names: ['tree-point'] }), { code: 'conflict' })
  const image = makeImage(home)
  await t.throwsAsync(writeImagePoint({ image, points: home, name: 'p', bases: ['tree-point'] }), { code: 'conflict' })
  await writeImagePoint({ image, points: home, name: 'good' })
  const [fd, chain] = [openSync(image, 'r'), await openChain(home, ['good'])]
  const asked = { subject: 'backup', compression: 'zstd', scratch: home, base: { points: ['good'], chain } } as const
  const write = (more: { readonly chunkBytes: number; readonly only?: Uint32Array }) =>
    writeArchive({ ...asked, sink: new LocalSink(home, 'bad'), image: { fd, sizeBytes: 6 * CHUNK, ...more } }, calm)
  await t.throwsAsync(write({ chunkBytes: 2 * CHUNK }), { code: 'invalid' })
  await t.throwsAsync(write({ chunkBytes: CHUNK + 512 }), { code: 'invalid' })
  await t.throwsAsync(write({ chunkBytes: CHUNK, only: Uint32Array.of(2, 1) }), { code: 'invalid' })
  t.false(existsSync(join(home, 'bad.partial')))
  await closeChain(chain)
  closeSync(fd)
})
