import { type BytePath, comparePaths, isWithin } from './byte-path.ts'

/** A place of the tree that may differ from what the chain holds; `subtree`: and everything below it, now or then. */
export interface Change {
  readonly path: BytePath
  readonly subtree: boolean
}

/** Where a walk has to look, in the order of the index. Crosses to the thread that walks. */
export interface Wanted {
  /** Each once, none below a subtree. */
  readonly paths: readonly BytePath[]
  /** 1 where everything below is wanted too. */
  readonly subtrees: Uint8Array
  /** The tree holds nothing else. */
  readonly isAll: boolean
}

export function wantedOf(changes: readonly Change[], isAll = false): Wanted {
  const sorted = changes.toSorted((a, b) => comparePaths(a.path, b.path) || Number(b.subtree) - Number(a.subtree))
  const paths: BytePath[] = []
  const subtrees: number[] = []
  for (const { path, subtree } of sorted) {
    const last = paths.at(-1)
    if (last === path || (last !== undefined && subtrees.at(-1) === 1 && isWithin(path, last))) continue
    paths.push(path)
    subtrees.push(subtree ? 1 : 0)
  }
  return { paths, subtrees: Uint8Array.from(subtrees), isAll }
}

/** What is wanted of one directory or entry: `passing` means only of what is below it. */
export interface Selection {
  readonly own: 'passing' | 'entry' | 'subtree'
  /** Indexes into the paths that are wanted: from the first to before the last. */
  readonly from: number
  readonly to: number
}

export interface SelectedNames {
  readonly names: readonly BytePath[]
  readonly selections: readonly Selection[]
}

export function rootSelection({ paths, subtrees }: Wanted): Selection {
  const own = paths[0] !== '' ? 'passing' : subtrees[0] === 1 ? 'subtree' : 'entry'
  return { own, from: 0, to: paths.length }
}

/** The names in a directory that lead to what is wanted below it, in order. @param path of the directory */
export function selectedNames({ paths, subtrees }: Wanted, path: BytePath, { from, to }: Selection): SelectedNames {
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
    selections.push({ own: slash >= 0 ? 'passing' : subtrees[begin] === 1 ? 'subtree' : 'entry', from: begin, to: at })
  }
  return { names, selections }
}
