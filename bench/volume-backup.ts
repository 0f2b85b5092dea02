import { execFileSync } from 'node:child_process'
import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { compare, type OwnCost, ours, seconds, theirs } from './harness/archive-costs.ts'
import { numbers, Text } from './harness/archive-trees.ts'
import { mountFileSystem } from './harness/pool.ts'
import { atMost, type Finding } from './harness/report.ts'
import { median } from './harness/statistics.ts'
import { runBench, type Workbench } from './harness/workbench.ts'

/**
 * A volume of 4 GiB, half of it written, on btrfs and on XFS: a full backup and its restore beside `tar -S c | zstd -T0 -3` and `tar x`, in turns,
 * as in `archive`; then increments after a hundredth of what it holds was written anew, in pieces of a MiB and, with no promise, of 4 KiB,
 * each beside the full one of the same process. Snapshots are reflinks, as pools make them.
 */
const VOLUME_BYTES = 4 * 2 ** 30
const STRETCH_BYTES = 64 * 2 ** 20
const PIECE_BYTES = 2 ** 20
const BLOCK_BYTES = 4_096
const CHANGED_SHARE = 0.01
const POOL_BYTES = 40 * 2 ** 30
const FULL_TARGET = 1.15
const RESTORE_TARGET = 1.1
const INCREMENT_TARGET = 0.05

const TAR = 'tar -S -c -C "$(dirname "$1")" "$(basename "$1")" | zstd -T0 -3 -q -f -o "$2/data.tar.zst"'
const UNTAR = 'mkdir "$2"; zstd -dcq "$1/data.tar.zst" | tar -x -C "$2"'

await runBench(async (workbench) =>
  (['btrfs', 'xfs'] as const).flatMap((kind) => {
    // `compare` writes what it finds there out between turns.
    const pool = mountFileSystem(workbench, {
      kind,
      name: kind === 'btrfs' ? 'pool' : 'pool-xfs',
      imageBytes: POOL_BYTES,
    })
    return [...full(workbench, kind, pool), ...increments(workbench, kind, pool)]
  }),
)

interface Volume {
  readonly path: string
  readonly sizeBytes: number
}

function makeVolume(workbench: Workbench, pool: string): Volume {
  const sizeBytes = Math.ceil((VOLUME_BYTES * workbench.scale) / (2 * STRETCH_BYTES)) * 2 * STRETCH_BYTES
  const path = join(pool, 'volume.raw')
  const [fd, text, piece] = [openSync(path, 'w'), new Text(), Buffer.alloc(PIECE_BYTES)]
  ftruncateSync(fd, sizeBytes)
  for (let start = 0; start < sizeBytes; start += 2 * STRETCH_BYTES)
    for (let at = start; at < start + STRETCH_BYTES; at += PIECE_BYTES) {
      text.fill(piece)
      writeSync(fd, piece, 0, PIECE_BYTES, at)
    }
  closeSync(fd)
  execFileSync('/bin/sync', ['-f', pool])
  return { path, sizeBytes }
}

function full(workbench: Workbench, kind: string, pool: string): readonly Finding[] {
  const { path } = makeVolume(workbench, pool)
  const [points, peer, back] = [join(pool, 'points'), join(pool, 'peer'), join(pool, 'back')]
  for (const directory of [points, peer]) mkdirSync(directory)
  const removePoint = () => rmSync(join(points, 'full'), { recursive: true })
  const written = compare(workbench, `${kind}, full`, [
    {
      name: 'holdfast',
      run: () => ours(workbench, 'image-backup', { tree: path, points, name: 'full' }),
      after: removePoint,
    },
    { name: 'tar', run: () => theirs(TAR, [path, peer]), after: () => rmSync(join(peer, 'data.tar.zst')) },
  ])
  ours(workbench, 'image-backup', { tree: path, points, name: 'full' })
  theirs(TAR, [path, peer])
  const restored = compare(workbench, `${kind}, restore`, [
    {
      name: 'holdfast',
      run: () => ours(workbench, 'image-restore', { tree: back, points, name: 'full' }),
      after: () => {
        execFileSync('/usr/bin/cmp', [path, back])
        rmSync(back)
      },
    },
    { name: 'tar', run: () => theirs(UNTAR, [peer, back]), after: () => rmSync(back, { recursive: true }) },
  ])
  rmSync(peer, { recursive: true })
  const finding = (bench: string, { holdfast, tar }: typeof written, against: string, target: number): Finding => {
    const ratio = holdfast.wallMs / tar.wallMs
    const told = { figure: seconds(holdfast), peer: `${against} ${seconds(tar)}` }
    return { bench: `volume: ${kind}, ${bench}`, ...told, ratio, target: atMost(ratio, target, ' wall') }
  }
  return [
    finding('full', written, 'tar -S | zstd', FULL_TARGET),
    finding('restore', restored, 'zstd | tar', RESTORE_TARGET),
  ]
}

/** Each is of one change on the same base, which stays. */
function increments(workbench: Workbench, kind: string, pool: string): readonly Finding[] {
  const points = join(pool, 'points')
  const live = { path: join(pool, 'volume.raw'), sizeBytes: statSync(join(pool, 'volume.raw')).size }
  const base = join(pool, 'base.raw')
  clone(live.path, base)
  const next = numbers(0x9e3779b9)
  return [PIECE_BYTES, BLOCK_BYTES].map((pieceBytes) => {
    const shares: number[] = []
    const costs: OwnCost[] = []
    let whole = ''
    for (let round = 1; round <= workbench.rounds; round += 1) {
      clone(base, live.path)
      change(live, pieceBytes, next)
      const snapshot = join(pool, 'snapshot.raw')
      clone(live.path, snapshot)
      execFileSync('/bin/sync', ['-f', pool])
      const fullCost = ours(workbench, 'image-backup', { tree: base, points, name: 'again' })
      const asked = { tree: snapshot, points, name: 'increment', base: 'full', 'base-image': base }
      const cost = ours(workbench, 'image-backup', asked)
      for (const name of ['again', 'increment']) rmSync(join(points, name), { recursive: true })
      rmSync(snapshot)
      shares.push(cost.wallMs / fullCost.wallMs)
      costs.push(cost)
      whole = seconds(fullCost)
      const words = `${kind}, ${pieceBytes} bytes at a time, round ${round}`
      workbench.say(
        `${words}: ${cost.members} members, ${seconds(cost)}, ${cost.peakMib.toFixed(0)} MiB; full ${whole}`,
      )
    }
    const share = median(shares)
    const [cost] = costs
    return {
      bench: `volume: ${kind}, 1 % changed, ${pieceBytes / 1_024} KiB at a time`,
      figure: `${cost === undefined ? '' : seconds(cost)}`,
      peer: `full ${whole}`,
      ratio: share,
      ...(pieceBytes === PIECE_BYTES ? { target: atMost(share, INCREMENT_TARGET, ' of the full') } : {}),
    }
  })
}

function clone(from: string, to: string): void {
  execFileSync('/bin/cp', ['--reflink=always', '--remove-destination', from, to])
}

/** A hundredth of what it holds, where it holds something. */
function change({ path, sizeBytes }: Volume, pieceBytes: number, next: () => number): void {
  const [fd, text, piece] = [openSync(path, 'r+'), new Text(), Buffer.alloc(pieceBytes)]
  const pieces = Math.round(((sizeBytes / 2) * CHANGED_SHARE) / pieceBytes)
  for (let written = 0; written < pieces; written += 1) {
    text.fill(piece)
    const stretch = (next() % (sizeBytes / (2 * STRETCH_BYTES))) * 2 * STRETCH_BYTES
    const block = next() % ((STRETCH_BYTES - pieceBytes) / BLOCK_BYTES)
    writeSync(fd, piece, 0, pieceBytes, stretch + block * BLOCK_BYTES)
  }
  closeSync(fd)
}
