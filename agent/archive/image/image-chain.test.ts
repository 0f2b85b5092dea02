import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { calm, closeChain, openChain } from '../../../test/harness/archive.ts'
import {
  changeImage,
  cloneImage,
  type ImageChange,
  isSameFile,
  restoreTo,
  writeImagePoint,
} from '../../../test/harness/images.ts'
import { canMount, type LoopFileSystem, sharedMounts } from '../../../test/harness/loop-mount.ts'
import { runRestore } from '../../../test/harness/restore-run.ts'
import { diff } from '../browse.ts'
import { consolidate } from '../consolidate.ts'
import { LocalSink } from '../local-sink.ts'
import { verify } from '../verify.ts'
import { changedChunks } from './changed-chunks.ts'
import { compareImage } from './compare-image.ts'

const mountOf = sharedMounts(test)
const CHUNK = 2 ** 18
const TOOLS = ['tar', 'zstd', 'sha256sum', 'cat', 'dd', 'rm']
const FILE_SYSTEMS: readonly LoopFileSystem[] = ['btrfs', 'xfs']

function folder(fileSystem: LoopFileSystem): string {
  return mkdtempSync(join(mountOf(fileSystem), 'images-'))
}

for (const fileSystem of FILE_SYSTEMS) {
  test.serial(`${fileSystem}: each point of a volume that is written comes back as its snapshot was`, async (t) => {
    if (!canMount(t)) return t.pass()
    const home = folder(fileSystem)
    const live = join(home, 'live')
    writeFileSync(live, '')
    truncateSync(live, 40 * CHUNK + 65_536)
    const at = (chunk: number, within = 0) => chunk * CHUNK + within
    const rounds: readonly (readonly ImageChange[])[] = [
      [
        { act: 'write', offset: at(0), bytes: 3 * CHUNK },
        { act: 'write', offset: at(9, 4_096), bytes: 8_192 },
        { act: 'write', offset: at(20), bytes: 5 * CHUNK },
        { act: 'zeros', offset: at(30), bytes: CHUNK },
        // To the very end, which is not a whole chunk.
        { act: 'write', offset: at(40, 60_000), bytes: 5_536 },
      ],
      [
        { act: 'write', offset: at(1, 100), bytes: 10 },
        { act: 'zeros', offset: at(9), bytes: CHUNK },
        { act: 'punch', offset: at(21), bytes: CHUNK },
        { act: 'reserve', offset: at(33), bytes: CHUNK },
      ],
      [],
      [
        { act: 'grow', offset: 0, bytes: 2 * CHUNK },
        { act: 'write', offset: at(21, 5_000), bytes: 300_000 },
        { act: 'write', offset: at(42), bytes: 4_096 },
      ],
    ]
    const names: string[] = []
    const images: string[] = []
    const members: number[] = []
    for (const [round, changes] of rounds.entries()) {
      for (const change of changes) changeImage(live, change, round)
      const image = join(home, `snapshot${round}`)
      cloneImage(live, image)
      const baseImage = images.at(-1)
      const point = { image, points: home, name: `p${round}`, bases: names.slice() }
      const written = await writeImagePoint(baseImage === undefined ? point : { ...point, baseImage })
      t.deepEqual(written.problems, [])
      members.push(written.totals.members)
      names.push(point.name)
      images.push(image)
    }
    // Two directories and volume.json; gone ones are no members of the tar, but lines.
    t.deepEqual(members, [3 + 10, 2 + 1 + 2, 0, 3 + 4])
    const all = { names, image: images.at(-1) ?? '' }
    await isRestored(t, home, all)
    if (fileSystem === 'btrfs') {
      await isRestored(t, home, { names: names.slice(0, 2), image: images[1] ?? '' })
      await isOneChain(t, home, all)
    }
  })
}

interface Restored {
  readonly names: readonly string[]
  readonly image: string
}

/** By us, into a file that is as sparse, and by the point's own script. */
async function isRestored(t: ExecutionContext, home: string, { names, image }: Restored): Promise<void> {
  const name = names.at(-1) ?? ''
  const back = await restoreTo(join(home, `back-${name}`), { points: home, names })
  t.true(isSameFile(back, image), `${name} by us`)
  t.true(statSync(back).blocks <= statSync(image).blocks, 'sparse')
  const into = join(home, `script ${name}`)
  mkdirSync(into)
  const run = runRestore({ point: join(home, name), into, bin: join(home, 'bin'), tools: TOOLS })
  t.deepEqual(run, { status: 0, complaint: '' })
  t.true(isSameFile(join(into, 'image'), image), `${name} by its script`)
  t.true(statSync(join(into, 'image')).blocks <= statSync(image).blocks + 2 * (CHUNK / 512), 'sparse')
}

/** Verified archive by archive, merged into one, and compared. */
async function isOneChain(t: ExecutionContext, home: string, { names, image }: Restored): Promise<void> {
  const chain = await openChain(home, names)
  const fd = openSync(image, 'r')
  t.deepEqual(await compareImage({ subject: 'rehearse', chain, fd }, calm), { count: 0, paths: [] })
  closeSync(fd)
  const top = chain.points.at(-1)
  t.is(top && (await verify({ subject: 'verify', point: top, scratch: home }, calm)).damagedCount, 0)
  await consolidate({ chain, sink: new LocalSink(home, 'whole'), scratch: home }, calm)
  await isRestored(t, home, { names: ['whole'], image })
  const again = await writeImagePoint({ image, points: home, name: 'after', bases: ['whole'] })
  t.is(again.totals.members, 0, 'the merged one holds all of it')
  const whole = await openChain(home, ['whole'])
  const found: string[] = []
  for await (const { path } of diff(chain, whole, calm.signal)) found.push(path)
  t.deepEqual(found, [])
  for (const opened of [chain, whole]) await closeChain(opened)
}

const SIZE = 12 * CHUNK
const change: fc.Arbitrary<ImageChange> = fc
  .record({
    act: fc.constantFrom('write', 'write', 'write', 'zeros', 'punch', 'reserve', 'grow'),
    offset: fc.nat(SIZE / 512 - 1).map((sector) => sector * 512),
    bytes: fc
      .oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 1_200 }))
      .map((sectors) => sectors * 512),
  })
  // A reservation of what is there changes nothing, and none goes behind the end.
  .map(({ act, offset, bytes }) => ({ act, offset, bytes: act === 'grow' ? bytes : Math.min(bytes, SIZE - offset) }))

for (const fileSystem of FILE_SYSTEMS) {
  test.serial(
    `${fileSystem}: whatever happens to an image, no chunk that differs is left out of the list`,
    async (t) => {
      if (!canMount(t)) return t.pass()
      const home = folder(fileSystem)
      let round = 0
      let [differing, listed, all] = [0, 0, 0]
      await fc.assert(
        fc.asyncProperty(
          fc.array(change, { maxLength: 6 }),
          fc.array(change, { minLength: 2, maxLength: 4 }),
          async (first, second) => {
            round += 1
            const [live, base] = [join(home, `live${round}`), join(home, `base${round}`)]
            writeFileSync(live, '')
            truncateSync(live, SIZE)
            for (const each of first) changeImage(live, each, 2 * round)
            cloneImage(live, base)
            for (const each of second) changeImage(live, each, 2 * round + 1)
            const only = await listOf(base, live)
            const wanted = differingChunks(base, live)
            differing += wanted.length
            listed += only.length
            all += Math.ceil(statSync(live).size / CHUNK)
            return (
              wanted.every((number) => only.includes(number)) &&
              only.every((number, at) => number > (only[at - 1] ?? -1))
            )
          },
        ),
        { numRuns: 15 },
      )
      t.log(`${listed} listed of ${all}, ${differing} differ`)
      t.true(differing > 0 && listed < all / 2 && listed < 2 * differing + 40, 'and not many others are in it')
    },
  )
}

async function listOf(base: string, live: string): Promise<readonly number[]> {
  const fds = [base, live].map((path) => openSync(path, 'r'))
  try {
    const only = await changedChunks({ baseFd: fds[0] ?? -1, fd: fds[1] ?? -1, chunkBytes: CHUNK })
    return Array.from(only ?? [])
  } finally {
    fds.forEach(closeSync)
  }
}

/** By their bytes; of two images of different sizes, what only one has too, unless it is zeros. */
function differingChunks(a: string, b: string): readonly number[] {
  const [before, after] = [readFileSync(a), readFileSync(b)]
  const numbers: number[] = []
  for (let at = 0; at < Math.max(before.length, after.length); at += CHUNK) {
    const [was, is] = [before.subarray(at, at + CHUNK), after.subarray(at, at + CHUNK)]
    const isSame = was.equals(is) || (was.length !== is.length && ![...was, ...is].some((byte) => byte !== 0))
    if (!isSame) numbers.push(at / CHUNK)
  }
  return numbers
}
