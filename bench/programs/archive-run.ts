import { closeSync, fstatSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Chain } from '../../agent/archive/chain.ts'
import { extract } from '../../agent/archive/extract.ts'
import { changedChunks } from '../../agent/archive/image/changed-chunks.ts'
import { chunkBytesFor } from '../../agent/archive/image/image-shape.ts'
import { restoreImage } from '../../agent/archive/image/restore-image.ts'
import { LocalSink } from '../../agent/archive/local-sink.ts'
import { Point } from '../../agent/archive/point.ts'
import { LocalPointFiles } from '../../agent/archive/range-source.ts'
import { verify } from '../../agent/archive/verify.ts'
import { writeArchive } from '../../agent/archive/write-archive.ts'

/**
 * One backup, restore or verification by the agent's archive library in a process that does nothing else. Prints as JSON what
 * it cost, from when the modules are loaded, as they are in an agent that runs; memory is of the whole process.
 * `archive-run.ts backup|restore|verify --tree=… --points=… --name=… --base=a,b`; `--older=` is the tree
 * that the last of the bases was made of, `--live=` what the tree is a snapshot of, which was taken later than `--settled=` (ms); `image-backup` and `image-restore` take an image for the tree, and `--base-image=` that one's.
 */
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    tree: { type: 'string', default: '' },
    points: { type: 'string', default: '' },
    name: { type: 'string', default: '' },
    base: { type: 'string' },
    'base-image': { type: 'string' },
    older: { type: 'string' },
    live: { type: 'string' },
    settled: { type: 'string' },
  },
})
const { tree, points, name } = values
const bases = values.base?.split(',') ?? []
const watch = { signal: new AbortController().signal, progress: () => undefined }

async function openChain(names: readonly string[]): Promise<Chain> {
  const opened: Point[] = []
  for (const each of names) opened.push(await Point.open(new LocalPointFiles(join(points, each)), watch.signal))
  return Chain.of(opened)
}

async function backup(): Promise<number> {
  const rootFd = openSync(tree, 'r')
  const chain = bases.length === 0 ? undefined : await openChain(bases)
  const older = values.older === undefined ? undefined : ({ by: 'path', fd: openSync(values.older, 'r') } as const)
  const live =
    values.live === undefined
      ? {}
      : { live: { fd: openSync(values.live, 'r'), settledBeforeMs: Number(values.settled) } }
  const base = chain === undefined ? {} : { base: { points: bases, lines: chain.lines(watch.signal), older } }
  const request = { subject: 'bench', compression: 'zstd', scratch: points, rootFd, ...live, ...base } as const
  const { problems, totals } = await writeArchive({ ...request, sink: new LocalSink(points, name) }, watch)
  if (problems.length > 0) throw new Error(`problems: ${JSON.stringify(problems.slice(0, 3))}`)
  closeSync(rootFd)
  return totals.members
}

async function restore(): Promise<number> {
  mkdirSync(tree)
  const rootFd = openSync(tree, 'r')
  const chain = await openChain([...bases, name])
  const policy = { devices: 'make', symlinks: 'keep' } as const
  const { files } = await extract({ subject: 'bench', chain, path: '', rootFd, policy, scratch: points }, watch)
  return files
}

async function check(): Promise<number> {
  const point = await Point.open(new LocalPointFiles(join(points, name)), watch.signal)
  const { files, damagedCount } = await verify({ subject: 'bench', point, scratch: points }, watch)
  if (damagedCount > 0) throw new Error(`${damagedCount} members are damaged`)
  return files
}

async function backupImage(): Promise<number> {
  const fd = openSync(tree, 'r')
  const sizeBytes = fstatSync(fd).size
  const chunkBytes = chunkBytesFor(sizeBytes)
  const chain = bases.length === 0 ? undefined : await openChain(bases)
  const older = values['base-image']
  const baseFd = older === undefined ? undefined : openSync(older, 'r')
  const only = baseFd === undefined ? undefined : await changedChunks({ baseFd, fd, chunkBytes })
  const base = chain === undefined ? {} : { base: { points: bases, chain } }
  const request = { subject: 'bench', compression: 'zstd', scratch: points, ...base } as const
  const image = { fd, sizeBytes, chunkBytes, only }
  const { problems, totals } = await writeArchive({ ...request, image, sink: new LocalSink(points, name) }, watch)
  if (problems.length > 0) throw new Error(`problems: ${JSON.stringify(problems.slice(0, 3))}`)
  return totals.members
}

async function restoreVolume(): Promise<number> {
  const fd = openSync(tree, 'wx+')
  const chain = await openChain([...bases, name])
  const { files } = await restoreImage({ subject: 'bench', chain, fd, scratch: points }, watch)
  return files
}

const act = { backup, restore, verify: check, 'image-backup': backupImage, 'image-restore': restoreVolume }[
  positionals[0] ?? ''
]
if (act === undefined) throw new Error('backup, restore, verify, image-backup or image-restore')
const [startedMs, before] = [performance.now(), process.cpuUsage()]
const members = await act()
const wallMs = performance.now() - startedMs
const { user, system } = process.cpuUsage(before)
const peakKib = Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1])
console.log(JSON.stringify({ wallMs, cpuMs: (user + system) / 1_000, peakMib: peakKib / 1_024, members }))
