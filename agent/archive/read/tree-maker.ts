import type { BytePath } from '../byte-path.ts'
import type { ContentTarget } from './content-reader.ts'
import type { TarEntry } from './tar-parser.ts'

/** What makes a tree of members in order, or has it made. What is written goes to the file that was begun last. */
export interface TreeMaker extends ContentTarget {
  directory(entry: TarEntry): void
  special(entry: TarEntry): void
  /** @param target a path of the tree, resolved as a member's name is: no link on the way */
  hardLink(entry: TarEntry, target: BytePath): void
  /** @param isFirst else it is the file that was made last, to be written over */
  beginFile(entry: TarEntry, isFirst: boolean): void
  /** @param isLast has the file's metadata; else it is begun again */
  endFile(entry: TarEntry, isLast: boolean): void
  /** Nothing follows for a while. */
  pause(): void
  /** Nothing follows. */
  finish(): void
  close(): void
}
