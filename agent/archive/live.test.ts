import { execFileSync, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, existsSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
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
  openDataset,
  writePoint,
} from '../../test/harness/archive.ts'
import { sharedMounts } from '../../test/harness/loop-mount.ts'
import { mutateTree } from '../../test/harness/mutate-tree.ts'
import { THOROUGHNESS } from '../../test/harness/thoroughness.ts'
import { SETTLED_MS as UNTOUCHED_MS } from '../tree/stamps.ts'
import { MemoryProbe } from './write/read-file.ts'
import type { WriteRequest } from './write-archive.ts'

const shared = sharedMounts(test)
/** What changed less long before a snapshot is read in it; by the driver it is longer, so that no write can have begun before and gone on behind it. */
const BTRFS = { driver: 'btrfs', on: 'btrfs', settledMs: 200 } as const
/** Clones have stamps, which say nothing of what changed less long before. */
const REFLINKS = { driver: 'reflink', on: 'xfs', settledMs: UNTOUCHED_MS + 100 } as const
type Pool = typeof BTRFS | typeof REFLINKS

async function open({ driver: name, on, settledMs }: Pool) {
  const { driver, source, live, home } = await openDataset({ on: shared(on), driver: name })
  const images: string[] = []
  const names: string[] = []

  /** An increment behind the first, of what the driver says has changed, where it does. */
  async function baseOf(image: string): Promise<Pick<WriteRequest, 'base'> & AsyncDisposable> {
    if (names.length === 0) return { [Symbol.asyncDispose]: async () => undefined }
    const chain = await openChain(home, names)
    const list = await driver.changes?.({ base: images.at(-1) ?? '', image }, calm)
    if (list === undefined && driver.changes !== undefined) throw new Error('no list')
    const changes = list && { chain, list }
    const base = { points: [...names], lines: chain.lines(calm.signal), ...(changes && { changes }) }
    return { base, [Symbol.asyncDispose]: () => closeChain(chain) }
  }

  return {
    live,
    settledMs,
    /** Makes a point of a snapshot. @param meanwhile is done behind the snapshot; what it returns, behind the archive */
    async archived(meanwhile: () => Promise<unknown> | undefined, settledBeforeMs?: number) {
      const image = randomUUID()
      const stamps = join(home, `stamps-${image}`)
      const { mountpoint, original } = await driver.snapshot({ source, target: image, readonly: true, stamps }, calm)
      const takenMs = original?.settledBeforeMs
      if (original === undefined || (takenMs !== undefined) !== (on === 'btrfs')) throw new Error('no original')
      if (takenMs !== undefined && takenMs > Date.now() - UNTOUCHED_MS) throw new Error('too late')
      const end = meanwhile()
      const fd = openSync(original.mountpoint, 'r')
      const name = `p${names.length}`
      await using base = await baseOf(image)
      await writePoint(
        { tree: mountpoint, points: home, name },
        {
          ...base,
          ...(existsSync(stamps) && { stamps }),
          live: { fd, settledBeforeMs: takenMs && (settledBeforeMs ?? takenMs) },
        },
      )
      closeSync(fd)
      names.push(name)
      images.push(image)
      await end
      return mountpoint
    },
    /** How the last point differs from its snapshot. */
    async wrong(mountpoint: string): Promise<readonly string[]> {
      const back = join(home, 'back')
      await extractTo(back, { points: home, names })
      // The driver's own note is in no archive.
      if (name === 'reflink') execFileSync('/usr/bin/setfattr', ['-x', 'trusted.holdfast.cow', mountpoint])
      const found = differences(describeTree(back), describeTree(mountpoint))
      rmSync(back, { recursive: true })
      return found
    },
  }
}

type Act = (t: ExecutionContext, room: Awaited<ReturnType<typeof open>>) => Promise<void>

function testOn(pools: readonly Pool[], title: string, act: Act) {
  for (const pool of pools)
    test(`${pool.on}: ${title}`, async (t) => {
      if (canArchive(t)) await act(t, await open(pool))
      else t.pass()
    })
}

function isInMemory(path: string, place = 0): boolean {
  const fd = openSync(path, 'r')
  try {
    return new MemoryProbe().has(fd, place)
  } finally {
    closeSync(fd)
  }
}

testOn(
  [BTRFS],
  'files of a snapshot are read where they live, but those that changed just before or after it',
  async (t, { live, archived, wrong, settledMs }) => {
    makeNastyTree(join(live, 'nasty'))
    for (const name of ['same', 'later', 'gone', 'other', 'just']) writeFileSync(join(live, name), name.repeat(2_000))
    await pause(settledMs)
    const settledBeforeMs = Date.now() - settledMs / 2
    writeFileSync(join(live, 'just'), 'JUST'.repeat(2_000))
    const mountpoint = await archived(() => {
      writeFileSync(join(live, 'later'), 'LATER'.repeat(2_000))
      for (const name of ['gone', 'other']) rmSync(join(live, name))
      mkdirSync(join(live, 'other'))
      return undefined
    }, settledBeforeMs)
    t.deepEqual(
      ['same', 'later', 'gone', 'other', 'just'].map((name) => isInMemory(join(mountpoint, name))),
      [false, true, true, true, true],
    )
    t.deepEqual(await wrong(mountpoint), [])
  },
)

/** Writes over files, makes others of them, and exchanges whole directories with equal names and sizes in them, until it is stopped. */
const DISTURB = `
  const { renameSync, rmSync, utimesSync, writeFileSync } = require('node:fs')
  const { workerData: { live, files, stop } } = require('node:worker_threads')
  function disturb(turn) {
    const directory = live + '/' + 'xy'[turn % 2]
    const [file, other] = [directory + '/f' + (turn * 7) % files, directory + '/f' + (turn * 11) % files]
    const content = 'ABCDEFGH'[turn % 8].repeat(5000)
    writeFileSync(file, content, { flag: 'r+' })
    utimesSync(file, 1, 1)
    if (turn % 5 === 0) { rmSync(file); writeFileSync(file, content) }
    if (turn % 3 === 0 && file !== other) { renameSync(file, live + '/z'); renameSync(other, file); renameSync(live + '/z', other) }
    if (turn % 10 === 0) for (const [from, to] of ['xz', 'yx', 'zy']) renameSync(live + '/' + from, live + '/' + to)
  }
  for (let turn = 0; Atomics.load(new Int32Array(stop), 0) === 0; turn += 1) disturb(turn)`

testOn(
  [BTRFS],
  'whatever happens to what lives meanwhile, the point is the snapshot',
  async (t, { live, archived, wrong, settledMs }) => {
    const files = 1_500
    for (let round = 0; round < 3 * THOROUGHNESS; round += 1) {
      mkdirSync(join(live, 'm'), { recursive: true })
      mutateTree(join(live, 'm'), 300 + round, 60)
      for (const directory of ['x', 'y']) mkdirSync(join(live, directory), { recursive: true })
      // In turns, so that those of one name have one time: it moves but every few milliseconds.
      for (let file = 0; file < 2 * (round === 0 ? files : files / 2); file += 1) {
        const path = join(live, 'xy'.charAt(file % 2), `f${Math.floor(file / 2)}`)
        writeFileSync(path, `${path} ${round} `.repeat(1_000).slice(-5_000))
      }
      await pause(settledMs)
      const stop = new SharedArrayBuffer(4)
      const mountpoint = await archived(
        () => {
          mutateTree(join(live, 'm'), 400 + round, 5)
          const worker = new Worker(DISTURB, { eval: true, workerData: { live, files, stop } })
          const ended = new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject))
          setTimeout(() => Atomics.store(new Int32Array(stop), 0, 1), 1_000)
          return ended
        },
        Date.now() - settledMs / 2,
      )
      t.deepEqual(await wrong(mountpoint), [], `round ${round}`)
    }
  },
)

testOn(
  [BTRFS, REFLINKS],
  'long files of a snapshot are read where they live, as long as they lie there in the same blocks',
  async (t, { live, archived, wrong, settledMs }) => {
    const sh = (script: string) => execFileSync('/bin/bash', ['-ec', script], { cwd: live, stdio: 'pipe' })
    sh(`for name in same linked early late longer shorter other gone; do head -c 6M /dev/urandom > $name; done; ln linked name
    truncate -s 20M same; head -c 3M /dev/urandom | dd of=same bs=1M seek=15 conv=notrunc status=none; fallocate -l 30M same`)
    await pause(settledMs)
    const mountpoint = await archived(() => {
      sh(`for place in 0:early 5M:late; do echo x | dd of=\${place#*:} bs=1 seek=\${place%:*} conv=notrunc status=none; done
      echo x >> longer; truncate -s 4M shorter; rm other gone; cp --reflink=always same other`)
      return undefined
    })
    // Of a clone the beginning was asked for. The others are held to what they were below: a kernel may have paged out what was read.
    t.deepEqual(
      ['same', 'linked'].map((name) => isInMemory(join(mountpoint, name), 6_000_000)),
      [false, false],
    )
    t.deepEqual(await wrong(mountpoint), [])
  },
)

/** Writes over all of a file by few calls, which take long: a snapshot in the middle of one has its time, and not all of its data. */
const LONG_WRITES = `import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
size = os.fstat(fd).st_size
mapped = mmap.mmap(fd, size)
print('go', flush=True)
for turn in range(3): os.pwrite(fd, bytes([65 + turn]) * size, 0)
for place in range(0, size, 4096): mapped[place] = 97
os.truncate(fd, size // 2); os.truncate(fd, size)
os.pwrite(fd, b'z' * (size // 2), size // 4)
`

testOn(
  [BTRFS, REFLINKS],
  'a snapshot in the middle of a long write is archived as it is',
  async (t, { live, archived, wrong }) => {
    const file = join(live, 'busy')
    execFileSync('/bin/sh', ['-ec', 'head -c 48M /dev/zero > "$1"; sync -f "$1"', 'sh', file])
    for (let round = 0; round < 4 * THOROUGHNESS; round += 1) {
      const writer = spawn('/usr/bin/python3', ['-c', LONG_WRITES, file], { stdio: ['ignore', 'pipe', 'inherit'] })
      const ended = once(writer, 'exit')
      await once(writer.stdout, 'data')
      await pause(30 * (round % 4))
      const mountpoint = await archived(() => undefined)
      await ended
      t.deepEqual(await wrong(mountpoint), [], `round ${round}`)
    }
  },
)

testOn(
  [BTRFS, REFLINKS],
  'a long file that is written to while it is archived is archived as it was',
  async (t, room) => {
    const { live, archived, wrong, settledMs } = room
    const file = join(live, 'still')
    for (let round = 0; round < 2 * THOROUGHNESS; round += 1) {
      execFileSync('/bin/sh', ['-ec', 'head -c 64M /dev/urandom > "$1"; sync -f "$1"', 'sh', file])
      await pause(settledMs)
      const mountpoint = await archived(() => {
        const writer = spawn('/usr/bin/python3', ['-c', LONG_WRITES, file], { stdio: ['ignore', 'ignore', 'inherit'] })
        return once(writer, 'exit').then(([code]) => t.is(code, 0))
      })
      t.deepEqual(await wrong(mountpoint), [], `round ${round}`)
    }
  },
)

testOn([REFLINKS], 'contents that are swapped without a trace are archived as they were', async (t, room) => {
  const { live, archived, wrong, settledMs } = room
  const sh = (script: string) => execFileSync('/bin/bash', ['-ec', script], { cwd: live, stdio: 'pipe' })
  sh('for name in a b; do head -c 8192 /dev/urandom > $name; head -c 6M /dev/urandom > long-$name; done')
  await pause(settledMs)
  const mountpoint = await archived(() => {
    sh(`for kind in '' long-; do
      a="$kind"a; b="$kind"b; was=$(stat -c %z $a); sum=$(sha256sum < $b)
      /usr/sbin/xfs_io -c "swapext $b" $a
      [ "$was" = "$(stat -c %z $a)" ]; [ "$sum" = "$(sha256sum < $a)" ]
    done`)
    return undefined
  })
  t.deepEqual(await wrong(mountpoint), [])
})
