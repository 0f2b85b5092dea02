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

/** Behind a name, as none can have it: so marked names stand in the order of the names. What follows tells the kind. */
const MARK = '\0'
export const DIRECTORY = `${MARK}d`
const FILE = `${MARK}f`
const RADIX = 36

/** One directory on the way down. */
export interface Level {
  readonly path: BytePath
  readonly fd: number
  /** The same directory as it lives, of a snapshot's; negative where it is not known. */
  readonly liveFd: number
  /** Sorted by bytes; what is before `next` has been visited. Marked where the type is known. */
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
    const liveFd = this.#openLive(realm, name)
    this.#levels.push({
      path,
      fd,
      liveFd,
      names: [],
      next: 0,
      selections: undefined,
      written: false,
      lost: false,
      realm,
    })
    this.#realms.current = realm
    return 'entered'
  }

  /** What lives need not have it any more, or have something else there: its files tell what they are. */
  #openLive(realm: number, name: BytePath): number {
    const live = this.#realms.liveOf(realm)
    if (live === undefined) return -1
    const above = this.top
    if (above === undefined || above.realm !== realm) return tryOpenBeneath(live.fd, ITSELF, READ_DIRECTORY)
    return above.liveFd < 0 ? -1 : tryOpenBeneath(above.liveFd, cString(Buffer.from(name, 'latin1')), READ_DIRECTORY)
  }

  leave(): void {
    const level = this.#levels.pop()
    if (level !== undefined) close(level.fd)
    if (level !== undefined && level.liveFd >= 0) close(level.liveFd)
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
      if (entry.type === 'directory') names.push(text + DIRECTORY)
      else if (entry.type === 'file') names.push(text + FILE + (level.liveFd < 0 ? '' : entry.inode().toString(RADIX)))
      else names.push(text)
    })
    return names.sort()
  }

  close(): void {
    while (this.#levels.length > 0) this.leave()
  }
}

export function unmarked(name: BytePath): BytePath {
  const end = name.lastIndexOf(MARK)
  return end < 0 ? name : name.slice(0, end)
}

export function isFile(name: BytePath): boolean {
  return name.includes(FILE)
}

/** Of a file, where the directory was listed beside the living one. */
export function inodeOf(name: BytePath): number {
  return Number.parseInt(name.slice(name.lastIndexOf(MARK) + FILE.length), RADIX)
}
