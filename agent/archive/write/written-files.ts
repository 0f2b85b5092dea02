import type { Status } from '../../native/status.ts'
import type { FirstName, LinkTable } from './link-table.ts'

/** A file with several names that is in the archive. */
export interface WrittenFile extends FirstName {
  /** Its ctime, as its line in the index has it. */
  readonly changed: string
}

/** @param status of the file in the tree itself, whatever the index says */
export function rememberFile(links: LinkTable, status: Status, { path, offset, changed }: WrittenFile): void {
  links.remember(status.inode, { path: `${status.wholeNumber} ${changed} ${path}`, offset })
}

/**
 * @param changed its ctime by now, as its line in the index would have it: another file may have got the number, while a live tree is read
 * @returns undefined where it is not in the archive as it is now
 */
export function findFile(links: LinkTable, status: Status, changed: string): WrittenFile | undefined {
  const known = links.find(status.inode)
  const stamp = `${status.wholeNumber} ${changed} `
  if (known === undefined || !known.path.startsWith(stamp)) return undefined
  return { path: known.path.slice(stamp.length), offset: known.offset, changed }
}
