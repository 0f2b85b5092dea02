import { closeSync } from 'node:fs'
import { Status } from '../../native/status.ts'
import type { BytePath } from '../byte-path.ts'
import type { LiveTree } from '../write-archive.ts'
import { type Identify, livingIdentity, ownIdentity, stampedIdentity, takenIdentity } from './identity.ts'

/** How the files of one tree are known again. */
export interface TreeMarks {
  /** Of an image: open at what its driver wrote beside it, and the image's root. */
  readonly stamps: { readonly fd: number; readonly rootFd: number } | undefined
  /** Of a tree that others write to while it is read. */
  readonly settledBeforeMs: number | undefined
  readonly live: LiveTree | undefined
}

/** A directory of another tree that stands in the place of an empty one. */
export interface TaskGraft extends TreeMarks {
  readonly path: BytePath
  /** Open for reading. */
  readonly fd: number
}

/** Behind the numbers of any file system that we know: of 512 trees they stay exact. */
const REALM_INODES = 2 ** 44

/**
 * The trees that one archive is made of: the root's own is realm 0, grafts follow in their order. Each numbers its files for itself,
 * so a number tells a file only together with the realm that is read at the time.
 */
export class Realms {
  readonly #grafts: ReadonlyMap<BytePath, { readonly fd: number; readonly realm: number }>
  readonly #identities: readonly Identify[]
  readonly #lives: readonly (LiveTree | undefined)[]
  current = 0
  /** Whether a number that `identify` tells is that of the file itself. */
  readonly keepsNumbers: boolean
  /** Of a file in the realm that is read. */
  readonly identify: Identify

  constructor(root: TreeMarks, grafts: readonly TaskGraft[]) {
    this.#grafts = new Map(grafts.map(({ path, fd }, index) => [path, { fd, realm: index + 1 }]))
    this.#identities = [root, ...grafts].map(identityOf)
    this.#lives = [root, ...grafts].map((tree) => (isKnown(tree) ? tree.live : undefined))
    const [own = ownIdentity] = this.#identities
    this.keepsNumbers = grafts.length === 0 && root.stamps === undefined
    this.identify = grafts.length === 0 ? own : (status) => this.#identify(status)
  }

  /** What stands at `path` instead of the directory that is there. */
  graftAt(path: BytePath): { readonly fd: number; readonly realm: number } | undefined {
    return this.#grafts.size === 0 ? undefined : this.#grafts.get(path)
  }

  liveOf(realm: number): LiveTree | undefined {
    return this.#lives[realm]
  }

  /** The number of a file among those of all realms. */
  number(inode: number): number {
    return inode + this.current * REALM_INODES
  }

  #identify(status: Status) {
    const { inode, changed } = (this.#identities[this.current] ?? ownIdentity)(status)
    return { inode: this.number(inode), changed }
  }
}

/** Whether it can be told which of its files are those that live. */
function isKnown({ stamps, live }: TreeMarks): boolean {
  return stamps !== undefined || live?.settledBeforeMs !== undefined
}

function identityOf({ stamps, settledBeforeMs, live }: TreeMarks): Identify {
  if (stamps !== undefined) return stampedIdentity(stamps.fd, new Status().readDescriptor(stamps.rootFd))
  if (settledBeforeMs !== undefined) return livingIdentity(settledBeforeMs)
  return live?.settledBeforeMs === undefined ? ownIdentity : takenIdentity(live.settledBeforeMs)
}

export function closeStamps(marks: readonly TreeMarks[]): void {
  for (const { stamps } of marks) if (stamps !== undefined) closeSync(stamps.fd)
}
