import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cString } from '../agent/native/libc.ts'
import { runTreeTask } from '../agent/tree/tree-task.ts'

/**
 * Clones 100,000 small files on btrfs as a restore does, beside `cp -a --reflink=always`, in turns on one loop image.
 * `node bench/tree-restore.ts [files] [rounds]`, as root. Neither side is followed by a sync; both write to the page cache.
 */
const FILES_IN_DIRECTORY = 1_000
const FILE_BYTES = 4_096
const IMAGE_BYTES = 8 * 2 ** 30
const watch = { signal: new AbortController().signal, progress: () => undefined }

function makeTree(tree: string, files: number): void {
  const content = Buffer.alloc(FILE_BYTES, 'holdfast')
  for (let file = 0; file < files; file += 1) {
    const directory = join(tree, `d${Math.floor(file / FILES_IN_DIRECTORY)}`)
    if (file % FILES_IN_DIRECTORY === 0) mkdirSync(directory, { recursive: true })
    writeFileSync(join(directory, `file-${file}`), content)
  }
}

async function timed(act: () => Promise<unknown> | unknown): Promise<number> {
  const startedMs = performance.now()
  await act()
  return performance.now() - startedMs
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}

async function compare(mountPoint: string, rounds: number): Promise<void> {
  const parentFd = openSync(mountPoint, 'r')
  const sourceFd = openSync(join(mountPoint, 'tree'), 'r')
  const holdfastMs: number[] = []
  const cpMs: number[] = []
  const clone = (name: string) =>
    runTreeTask({ subject: 'bench', kind: 'clone', sourceFd, parentFd, name: cString(name), mode: 'share' }, watch)
  const cp = (name: string) =>
    execFileSync('/bin/cp', ['-a', '--reflink=always', join(mountPoint, 'tree'), join(mountPoint, name)])
  const remove = async (name: string) => {
    await runTreeTask({ subject: 'bench', kind: 'remove', parentFd, name: cString(name) }, watch)
    execFileSync('/bin/sync', ['-f', mountPoint])
  }
  for (let round = 0; round < rounds; round += 1) {
    // Who goes first alternates, so neither always finds the caches warm.
    const ours = async () => {
      holdfastMs.push(await timed(() => clone('ours')))
      await remove('ours')
    }
    const theirs = async () => {
      cpMs.push(await timed(() => cp('theirs')))
      await remove('theirs')
    }
    for (const turn of round % 2 === 0 ? [ours, theirs] : [theirs, ours]) await turn()
    console.log(`round ${round + 1}: holdfast ${holdfastMs.at(-1)?.toFixed(0)} ms, cp ${cpMs.at(-1)?.toFixed(0)} ms`)
  }
  closeSync(sourceFd)
  closeSync(parentFd)
  const [ours, theirs] = [median(holdfastMs), median(cpMs)]
  console.log(`median: holdfast ${ours.toFixed(0)} ms, cp ${theirs.toFixed(0)} ms, ratio ${(ours / theirs).toFixed(2)}`)
}

const [files = 100_000, rounds = 5] = process.argv.slice(2).map(Number)
const directory = mkdtempSync('/var/tmp/holdfast-tree-bench-')
const mountPoint = join(directory, 'mnt')
mkdirSync(mountPoint)
let mounted = false
try {
  writeFileSync(join(directory, 'image'), '')
  truncateSync(join(directory, 'image'), IMAGE_BYTES)
  execFileSync('/usr/sbin/mkfs.btrfs', ['-q', join(directory, 'image')], { stdio: 'pipe' })
  execFileSync('/bin/mount', ['-o', 'loop', join(directory, 'image'), mountPoint])
  mounted = true
  makeTree(join(mountPoint, 'tree'), files)
  execFileSync('/bin/sync', ['-f', mountPoint])
  await compare(mountPoint, rounds)
} finally {
  if (mounted) execFileSync('/bin/umount', [mountPoint])
  rmSync(directory, { recursive: true })
}
