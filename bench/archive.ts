import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type Cost, compare, ours, seconds, theirs } from './harness/archive-costs.ts'
import { type BenchTree, benchTrees } from './harness/archive-trees.ts'
import { mountPool } from './harness/pool.ts'
import { atMost, type Finding } from './harness/report.ts'
import { warm } from './harness/warm.ts'
import { runBench, type Workbench } from './harness/workbench.ts'

/**
 * A first backup, and its restore, beside the shell's own pipe of tar, openssl and zstd, in turns on one btrfs. Ours also hashes
 * every member and every frame, indexes them, and is on disk when it ends; the pipe's output is left in the page cache. Sources
 * are warm: each was read by the round before.
 */
const IMAGE_BYTES = 40 * 2 ** 30
const WALL_TARGET = 1.1
const CPU_TARGET = 1.15

const TAR = `
mkfifo "$2/pipe"; openssl dgst -sha256 < "$2/pipe" > "$2/sum" & hashing=$!
tar c -C "$1" . | tee "$2/pipe" | zstd -T0 -3 -q -f -o "$2/data.tar.zst"; wait $hashing; rm "$2/pipe"`
const UNTAR = 'mkdir "$2"; zstd -dcq "$1/data.tar.zst" | tar -x -C "$2"'

await runBench(async (workbench) => {
  const pool = mountPool(workbench, IMAGE_BYTES)
  return benchTrees(workbench.scale).flatMap((tree) => measure(workbench, pool, tree))
})

function measure(workbench: Workbench, pool: string, { title, make }: BenchTree): readonly Finding[] {
  const tree = join(pool, 'tree')
  const points = join(pool, 'points')
  const peer = join(pool, 'peer')
  const back = join(pool, 'back')
  for (const directory of [points, peer]) mkdirSync(directory)
  make(tree)
  execFileSync('/bin/sync', ['-f', pool])
  const removeBack = () => rmSync(back, { recursive: true })
  const written = compare(workbench, `${title}, backup`, [
    {
      name: 'holdfast',
      before: () => warm(tree),
      run: () => ours(workbench, 'backup', { tree, points, name: 'point' }),
      after: () => rmSync(join(points, 'point'), { recursive: true }),
    },
    {
      name: 'tar',
      before: () => warm(tree),
      run: () => theirs(TAR, [tree, peer]),
      after: () => rmSync(join(peer, 'data.tar.zst')),
    },
  ])
  ours(workbench, 'backup', { tree, points, name: 'point' })
  theirs(TAR, [tree, peer])
  const restored = compare(workbench, `${title}, restore`, [
    {
      name: 'holdfast',
      before: () => warm(points),
      run: () => ours(workbench, 'restore', { tree: back, points, name: 'point' }),
      after: removeBack,
    },
    { name: 'tar', before: () => warm(peer), run: () => theirs(UNTAR, [peer, back]), after: removeBack },
  ])
  for (const directory of [tree, points, peer]) rmSync(directory, { recursive: true })
  return [
    ...findings(`first backup of ${title}`, written, 'tar | openssl | zstd'),
    ...findings(`restore of ${title}`, restored, 'zstd | tar').filter(({ figure }) => !figure.startsWith('CPU')),
  ]
}

function findings(bench: string, { holdfast, tar }: Readonly<Record<'holdfast' | 'tar', Cost>>, peer: string) {
  const [wall, cpu] = [holdfast.wallMs / tar.wallMs, holdfast.cpuMs / tar.cpuMs]
  const figure = seconds(holdfast)
  return [
    { bench, figure, peer: `${peer} ${seconds(tar)}`, ratio: wall, target: atMost(wall, WALL_TARGET, ' wall') },
    { bench, figure: 'CPU', peer, ratio: cpu, target: atMost(cpu, CPU_TARGET, ' CPU') },
  ]
}
