import type { FirstName, LinkTable } from './link-table.ts'

/** A file with several names that is in the archive. */
export interface WrittenFile extends FirstName {
  /** Its ctime, as its line in the index has it. */
  readonly changed: string
}

/** @param inode of the tree itself, whatever the index says */
export function rememberFile(links: LinkTable, inode: number, { path, offset, changed }: WrittenFile): void {
  links.remember(inode, { path: `${changed} ${path}`, offset })
}

export function findFile(links: LinkTable, inode: number): WrittenFile | undefined {
  const known = links.find(inode)
  if (known === undefined) return undefined
  const space = known.path.indexOf(' ')
  return { path: known.path.slice(space + 1), offset: known.offset, changed: known.path.slice(0, space) }
}
