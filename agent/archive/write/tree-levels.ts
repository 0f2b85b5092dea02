import { constants } from 'node:fs'
import { DirectoryReader } from '../../native/directory-entries.ts'
import { cString } from '../../native/libc.ts'
import { close, howBeneath, tryOpenBeneath } from '../../native/paths.ts'
import { type BytePath, joinPath } from '../byte-path.ts'
import type { Selection } from '../wanted.ts'
import type { Realms } from './realms.ts'

/** One descriptor a level. */
const MAX_DEPTH = 2_048
const READ_DIRECTORY = howBeneath(constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_DIRECTORY)

const ITSELF = cString('.')

/** Behind a name, as neither can be in one. */
export const DIRECTORY = '/'
export const FILE = '\0'

/** One directory on the way down. */
export interface Level {
  readonly path: BytePath
  readonly fd: number
  /** Sorted by bytes; what is before `next` has been visited. Marked by `DIRECTORY` or `FILE` where the type is known. */
  names: readonly BytePath[]
  next: number
  /** One a name, where the walk looks only at some; undefined where it looks at all. */
  selections: readonly Selection[] | undefined
  /** Its own member is in the archive. */
  written: boolean
  /** Something that an earlier archive holds is not in it any more. */
  lost: boolean
  /** The tree that it is of. */
  readonly realm: number
}

export type Entered = 'entered' | 'too-deep' | { readonly failed: number }

/** The directories from the tree's root to where the walk is, each open. */
export class TreeLevels {
  readonly #levels: Level[] = []
  readonly #reader = new DirectoryReader()
  readonly #realms: Realms

  constructor(realms: Realms) {
    this.#realms = realms
  }

  get all(): readonly Level[] {
    return this.#levels
  }
  get top(): Level | undefined {
    return this.#levels.at(-1)
  }

  /** @returns why not, with errno still set for the caller to ask */
  enter(parentFd: number, name: BytePath): Entered {
    if (this.#levels.length === MAX_DEPTH) return 'too-deep'
    const path = this.#levels.length === 0 ? '' : joinPath(this.top?.path ?? '', name)
    const graft = this.#realms.graftAt(path)
    const fd =
      graft === undefined
        ? tryOpenBeneath(parentFd, cString(Buffer.from(name === '' ? '.' : name, 'latin1')), READ_DIRECTORY)
        : tryOpenBeneath(graft.fd, ITSELF, READ_DIRECTORY)
    if (fd < 0) return { failed: fd }
    const realm = graft?.realm ?? this.top?.realm ?? 0
    this.#levels.push({ path, fd, names: [], next: 0, selections: undefined, written: false, lost: false, realm })
    this.#realms.current = realm
    return 'entered'
  }

  leave(): void {
    const level = this.#levels.pop()
    if (level !== undefined) close(level.fd)
    this.#realms.current = this.top?.realm ?? 0
  }

  /** @param act what is told of one of the levels, which may be of another tree than the top is */
  of(level: Level, act: () => void): void {
    const { current } = this.#realms
    this.#realms.current = level.realm
    try {
      act()
    } finally {
      this.#realms.current = current
    }
  }

  /** Names are told apart by type where the file system says it, so that a directory is opened once. @throws SystemError */
  list(level: Level): readonly BytePath[] {
    const names: BytePath[] = []
    this.#reader.forEach(level.fd, (entry) => {
      const name = entry.copyName()
      const text = name.toString('latin1', 0, name.length - 1)
      names.push(entry.type === 'directory' ? text + DIRECTORY : entry.type === 'file' ? text + FILE : text)
    })
    return names.sort(compareNames)
  }

  close(): void {
    while (this.#levels.length > 0) this.leave()
  }
}

/** As comparePaths; the mark does not count. */
function compareNames(a: BytePath, b: BytePath): number {
  return unmarked(a) < unmarked(b) ? -1 : 1
}

export function unmarked(name: BytePath): BytePath {
  return name.endsWith(DIRECTORY) || name.endsWith(FILE) ? name.slice(0, -1) : name
}
