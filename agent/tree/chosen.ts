import { FleetError } from '../../shared/errors.ts'
import type { ListedChange } from './listing-diff.ts'

/** What is wanted of one entry of a tree, and of what is below it. */
export interface Chosen {
  /** Undefined: it only leads to others. */
  own: Pick<ListedChange, 'subtree' | 'inode'> | undefined
  /** By name, one character a byte. */
  readonly below: Map<string, Chosen>
}

/** @returns of the root */
export function chosenOf(changes: readonly ListedChange[]): Chosen {
  const root: Chosen = { own: undefined, below: new Map() }
  for (const { path, ...own } of changes) {
    let place = root
    for (const name of path === '' ? [] : path.split('/')) {
      const next = place.below.get(name) ?? { own: undefined, below: new Map() }
      place.below.set(name, next)
      place = next
    }
    // What is named twice is wanted as the more of both.
    if (place.own?.subtree !== true) place.own = own
  }
  return root
}

/** Whether all of a directory is wanted. @throws conflict when it is not the one that was asked about, so that it may be wanted whole */
export function isWhole({ own }: Chosen, inode: number): boolean {
  if (own !== undefined && !own.subtree && own.inode !== inode)
    throw new FleetError('conflict', 'a directory was replaced while it was looked at')
  return own?.subtree === true
}

/**
 * Whether the directory around it may have lost an entry that an archive below this one has, or has another kind of entry now: then
 * its other names are needed too.
 */
export function mayBeLost({ own }: Chosen, found: 'directory' | 'other' | undefined): boolean {
  if (found === undefined || own === undefined) return found !== 'directory'
  return own.subtree || (found === 'directory') !== (own.inode !== undefined)
}
