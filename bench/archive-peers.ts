import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { findTool } from '../deploy/tools.ts'
import { type Cost, compare, ours, seconds, type Turn, theirs } from './harness/archive-costs.ts'
import { type BenchTree, benchTrees } from './harness/archive-trees.ts'
import { mountPool } from './harness/pool.ts'
import { requireTool } from './harness/processes.ts'
import { atLeast, atMost, type Finding } from './harness/report.ts'
import { warm } from './harness/warm.ts'
import { runBench, type Workbench } from './harness/workbench.ts'

/**
 * First, unchanged and slightly changed backups beside restic and borg (Debian's packages), in turns on one btrfs, all with zstd
 * and warm sources. Both peers deduplicate, and restic encrypts too, as it cannot do without; neither indexes what a plain tool
 * could read. Ours reads snapshots, and finds changed files by inode, ctime and mtime, as it does where nobody tells them (`points` has them told); what changed in
 * large ones it finds by the blocks that snapshots share.
 */
const IMAGE_BYTES = 48 * 2 ** 30
const FIRST_TARGET = 2.5
const UNCHANGED_TARGET = 0.1
const CHANGED_TARGET = 8
/** What changed later before a snapshot is looked at again by the next increment. */
const SETTLING_MS = 2_500

type Peer = 'restic' | 'borg'
type Name = 'holdfast' | Peer

const INIT: Readonly<Record<Peer, string>> = {
  restic: 'restic -q init',
  borg: 'borg init --encryption=none',
}
const BACKUP: Readonly<Record<Peer, string>> = {
  restic: 'cd "$1"; restic -q backup .',
  borg: 'cd "$1"; borg create --compression zstd,3 "::$2" .',
}

/** A peer's repository and the tree that it backs up. */
class Repository {
  readonly #peer: Peer
  readonly #home: string
  readonly #tree: string
  #backups = 0

  constructor(peer: Peer, pool: string, tree: string) {
    this.#peer = peer
    this.#home = join(pool, peer)
    this.#tree = tree
    this.begin()
  }

  begin(): void {
    rmSync(this.#home, { recursive: true, force: true })
    mkdirSync(this.#home)
    theirs(INIT[this.#peer], [], this.#environment)
  }

  backup(): Cost {
    this.#backups += 1
    return theirs(BACKUP[this.#peer], [this.#tree, `backup-${this.#backups}`], this.#environment)
  }

  end(): void {
    rmSync(this.#home, { recursive: true })
  }

  get #environment(): Readonly<Record<string, string>> {
    return {
      HOME: this.#home,
      RESTIC_REPOSITORY: join(this.#home, 'repository'),
      RESTIC_PASSWORD: 'bench',
      RESTIC_CACHE_DIR: join(this.#home, 'cache'),
      BORG_REPO: join(this.#home, 'repository'),
      BORG_BASE_DIR: this.#home,
    }
  }
}

function sleepSync(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

/** What a backup is made of: a tree, or a snapshot of one that lives. */
interface Of {
  readonly tree: string
  readonly older?: string
  readonly live?: string
  readonly settled?: string
}

function measure(workbench: Workbench, pool: string, source: BenchTree, peers: readonly Peer[]): readonly Finding[] {
  const { title, make, change } = source
  const home = join(pool, 'home')
  const btrfs = (...args: readonly string[]) => void execFileSync(requireTool('btrfs'), ['-q', 'subvolume', ...args])
  btrfs('create', home)
  const tree = join(home, 'tree')
  const points = join(pool, 'points')
  mkdirSync(points)
  make(tree)
  execFileSync('/bin/sync', ['-f', pool])
  const repositories = peers.map((peer) => ({ peer, repository: new Repository(peer, pool, tree) }))
  const turns = (own: Turn<Name>, after: (repository: Repository) => void): readonly Turn<Name>[] => [
    own,
    ...repositories.map(({ peer, repository }) => ({
      name: peer,
      before: () => warm(tree),
      run: () => repository.backup(),
      after: () => after(repository),
    })),
  ]
  const backup = (name: string, bases: readonly string[], of: Of) =>
    ours(workbench, 'backup', { points, name, ...of, ...(bases.length === 0 ? {} : { base: bases.join(',') }) })
  const snapshots: string[] = []
  let settled = ''
  const snapshot = () => {
    sleepSync(SETTLING_MS)
    snapshots.push(join(pool, `snapshot-${snapshots.length}`))
    settled = String(Date.now())
    btrfs('snapshot', '-r', home, snapshots.at(-1) ?? '')
  }
  const snapshotTree = (at: number) => join(snapshots.at(at) ?? '', 'tree')
  const forget = (name: string) => rmSync(join(points, name), { recursive: true })
  const own = (bases: readonly string[], of = (): Of => ({ tree })): Turn<Name> => ({
    name: 'holdfast',
    before: () => warm(tree),
    run: () => backup('next', bases, of()),
    after: () => forget('next'),
  })

  const first = compare(
    workbench,
    `${title}, first`,
    turns(own([]), (repository) => repository.begin()),
  )
  for (const { repository } of repositories) repository.backup()
  snapshot()
  const taken = () => ({ tree: snapshotTree(-1), live: tree, settled })
  backup('p0', [], taken())
  const unchanged = compare(
    workbench,
    `${title}, unchanged`,
    turns(own(['p0'], taken), () => undefined),
  )
  const chain = ['p0']
  const growing: Turn<Name> = {
    name: 'holdfast',
    before: () => warm(tree),
    run: () => backup(`p${chain.length}`, chain, { ...taken(), older: snapshotTree(-2) }),
    after: () => void chain.push(`p${chain.length}`),
  }
  const changed = compare(
    workbench,
    `${title}, changed`,
    turns(growing, () => undefined),
    (round) => {
      change(tree, round)
      snapshot()
    },
  )

  for (const { repository } of repositories) repository.end()
  for (const subvolume of [home, ...snapshots]) btrfs('delete', subvolume)
  rmSync(points, { recursive: true })
  return peers.flatMap((peer) => findings(title, peer, { first, unchanged, changed }))
}

function findings(
  title: string,
  peer: Peer,
  { first, unchanged, changed }: Readonly<Record<'first' | 'unchanged' | 'changed', Readonly<Record<Name, Cost>>>>,
): readonly Finding[] {
  const line = (bench: string, costs: Readonly<Record<Name, Cost>>, ratio: number) => ({
    bench: `${bench}: ${title}`,
    figure: seconds(costs.holdfast),
    peer: `${peer} ${seconds(costs[peer])}`,
    ratio,
  })
  const faster = (costs: Readonly<Record<Name, Cost>>) => costs[peer].wallMs / costs.holdfast.wallMs
  const isJudged = peer === 'restic'
  const share = unchanged.holdfast.wallMs / unchanged[peer].wallMs
  return [
    { ...line('first backup', first, faster(first)), target: atLeast(faster(first), FIRST_TARGET, ' as fast') },
    {
      ...line('unchanged', unchanged, share),
      ...(isJudged && { target: atMost(share, UNCHANGED_TARGET, ' of its time') }),
    },
    {
      ...line('1 % changed', changed, faster(changed)),
      ...(isJudged && { target: atLeast(faster(changed), CHANGED_TARGET, ' as fast') }),
    },
  ]
}

await runBench(async (workbench) => {
  const pool = mountPool(workbench, IMAGE_BYTES)
  const peers = (['restic', 'borg'] as const).filter((peer) => {
    const isHere = findTool(peer) !== undefined
    if (!isHere) workbench.say(`SKIPPED: ${peer} is not installed`)
    return isHere
  })
  return benchTrees(workbench.scale).flatMap((tree) => measure(workbench, pool, tree, peers))
})
