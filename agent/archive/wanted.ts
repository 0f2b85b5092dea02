import { type BytePath, comparePaths, isWithin } from './byte-path.ts'

/** A place of the tree that may differ from what the chain holds; `subtree`: and everything below it, now or then. */
export interface Change {
  readonly path: BytePath
  readonly subtree: boolean
  /** What the chain holds here is no directory, whatever it says of it, and differs: nobody need look it up. */
  readonly rewritten?: true
}

/** Where a walk has to look, in the order of the index. Crosses to the thread that walks. */
export interface Wanted {
  /** Each once, none below a subtree. */
  readonly paths: readonly BytePath[]
  /** How much is wanted at each. */
  readonly kinds: readonly WantedKind[]
  /** The tree holds nothing else. */
  readonly isAll: boolean
}

/** A `rewritten` entry is one of which it is known what the chain holds. */
export type WantedKind = 'entry' | 'subtree' | 'rewritten'

export function wantedOf(changes: readonly Change[], isAll = false): Wanted {
  const sorted = changes.toSorted(
    (a, b) =>
      comparePaths(a.path, b.path) ||
      Number(b.subtree) - Number(a.subtree) ||
      Number(a.rewritten === true) - Number(b.rewritten === true),
  )
  const paths: BytePath[] = []
  const kinds: WantedKind[] = []
  for (const { path, subtree, rewritten } of sorted) {
    const last = paths.at(-1)
    if (last === path || (last !== undefined && kinds.at(-1) === 'subtree' && isWithin(path, last))) continue
    paths.push(path)
    kinds.push(subtree ? 'subtree' : rewritten ? 'rewritten' : 'entry')
  }
  return { paths, kinds, isAll }
}

/** What is wanted of one directory or entry: `passing` means only of what is below it. */
export interface Selection {
  readonly own: 'passing' | WantedKind
  /** Indexes into the paths that are wanted: from the first to before the last. */
  readonly from: number
  readonly to: number
}

export interface SelectedNames {
  readonly names: readonly BytePath[]
  readonly selections: readonly Selection[]
}

export function rootSelection({ paths, kinds }: Wanted): Selection {
  const own = paths[0] !== '' ? 'passing' : (kinds[0] ?? 'entry')
  return { own, from: 0, to: paths.length }
}

/** The names in a directory that lead to what is wanted below it, in order. @param path of the directory */
export function selectedNames({ paths, kinds }: Wanted, path: BytePath, { from, to }: Selection): SelectedNames {
  const names: BytePath[] = []
  const selections: Selection[] = []
  const start = path === '' ? 0 : path.length + 1
  for (let at = from; at < to; ) {
    const first = paths[at] ?? ''
    if (first === path) {
      at += 1
      continue
    }
    const slash = first.indexOf('/', start)
    const child = slash < 0 ? first : first.slice(0, slash)
    const begin = at
    while (at < to && isWithin(paths[at] ?? '', child)) at += 1
    names.push(child.slice(start))
    selections.push({ own: slash >= 0 ? 'passing' : (kinds[begin] ?? 'entry'), from: begin, to: at })
  }
  return { names, selections }
}
