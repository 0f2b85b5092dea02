import { FleetError } from '../../../shared/errors.ts'
import { cString } from '../../native/libc.ts'
import { close, tryOpenBeneath } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import { checked, errorCodeOf, lastErrorCode } from '../../native/system-error.ts'
import type { Counters } from '../../tree/counters.ts'
import { type BytePath, comparePaths, isWithin, joinPath } from '../byte-path.ts'
import { goneLine, type ProblemReason } from '../member.ts'
import { rootSelection, type Selection, selectedNames, type Wanted } from '../wanted.ts'
import type { Identity } from './identity.ts'
import type { LiveContent, LiveFiles } from './live-files.ts'
import type { MemberWriter } from './member-writer.ts'
import type { Patches } from './patches.ts'
import type { PreviousEntries, PreviousEntry } from './previous-entries.ts'
import { ReadAhead } from './read-ahead.ts'
import { READ_FILE, READ_LIVE_FILE } from './read-file.ts'
import type { Realms } from './realms.ts'
import { DIRECTORY, isFile, type Level, TreeLevels, unmarked } from './tree-levels.ts'

/** An entry that changes its kind each time it is looked at. */
const ENTRY_ATTEMPTS = 3
const NOT_OPENED = -1

export interface WalkParts {
  readonly rootFd: number
  readonly writer: MemberWriter
  readonly counters: Counters
  readonly line: (path: BytePath, line: string) => void
  readonly problem: (path: BytePath, reason: ProblemReason) => void
  /** Called when a directory is left in which something is gone. */
  readonly lost: (level: Level) => void
  /** What the chain holds: then only what differs from it is written. */
  readonly previous: PreviousEntries | undefined
  /** The walk looks here alone; `previous` then holds what the chain holds of these places, and no more. */
  readonly wanted: Wanted | undefined
  readonly realms: Realms
  /** Where the tree, or some of it, is a snapshot of what lives beside it. */
  readonly live: LiveFiles | undefined
  /** Where what the chain's last point was made of is there. */
  readonly patches: Patches | undefined
}

interface VisitedName {
  readonly name: BytePath
  readonly path: BytePath
  readonly selection: Selection | undefined
  /** A snapshot's own table may tell of it, with those of its neighbours. */
  readonly isInTable?: boolean
}

interface OpenedName {
  readonly name: BytePath
  readonly path: BytePath
  /** Negative: not yet. */
  readonly opened: number
  /** Of what stands there in the living tree; negative where that is not known. */
  readonly living: number
}

interface OpenFile extends Pick<OpenedName, 'path' | 'living'> {
  readonly fd: number
}

interface LivingName extends Pick<OpenedName, 'name' | 'path' | 'living'> {
  readonly read: () => LiveContent | undefined
}

/** Walks a tree in the order of the index, by descriptors alone, and writes what is to be written. Synchronous. */
export class TreeWalk {
  readonly #parts: WalkParts
  readonly #levels: TreeLevels
  readonly #status = new Status()
  readonly #ahead: ReadAhead
  /** What the chain holds of the path that is looked at. */
  #before: PreviousEntry | undefined

  constructor(parts: WalkParts) {
    this.#parts = parts
    this.#ahead = new ReadAhead(parts.live)
    this.#levels = new TreeLevels(parts.realms)
  }

  /** @throws SystemError when the root itself cannot be read; cancelled */
  run(): void {
    try {
      const entered = this.#levels.enter(this.#parts.rootFd, '')
      if (typeof entered === 'object') checked('openat2', entered.failed)
      const { wanted } = this.#parts
      this.#visitDirectory(wanted === undefined ? undefined : rootSelection(wanted))
      for (let level = this.#levels.top; level !== undefined; level = this.#levels.top) {
        this.#parts.counters.throwIfStopped()
        const [name, selection] = [level.names[level.next], level.selections?.[level.next]]
        level.next += 1
        if (name === undefined) this.#leave(level)
        else this.#visit(level, name, selection)
      }
      this.#passGone(undefined)
    } finally {
      this.#ahead.close()
      this.#levels.close()
    }
  }

  #visit(level: Level, marked: BytePath, selection: Selection | undefined): void {
    const isDirectory = marked.endsWith(DIRECTORY)
    const name = unmarked(marked)
    const path = joinPath(level.path, name)
    this.#passGone(path)
    if (isDirectory && this.#enter(level, { name, path, selection })) return
    if (this.#parts.previous === undefined && isFile(marked) && this.#visitFile(level, name, path)) return
    if (selection !== undefined) this.#ahead.advise(level)
    const isFileOfAll = isFile(marked) && selection === undefined
    for (let attempt = 0; attempt < ENTRY_ATTEMPTS; attempt += 1) {
      if (this.#visitNamed(level, { name, path, selection, isInTable: isFileOfAll && attempt === 0 })) return
    }
    this.#parts.problem(path, 'changed')
  }

  /** A full archive reads every file, so there is nothing to look at before it is open. */
  #visitFile(level: Level, name: BytePath, path: BytePath): boolean {
    const opened = this.#ahead.open(level)
    try {
      const { live } = this.#parts
      if (live?.readsShort(level) !== true) return this.#writeFile(level, { name, path, opened, living: NOT_OPENED })
      const read = () => live.next(level, opened, this.#status)
      return this.#writeWhereItLives(level, { name, path, living: opened, read })
    } catch (error) {
      if (errorCodeOf(error) === undefined) throw error
      return this.#refuse(path, 'unreadable')
    }
  }

  /**
   * What cannot be read there, or is something else there, is read in the snapshot. Closes the living descriptor.
   */
  #writeWhereItLives(level: Level, { name, path, living, read }: LivingName): boolean {
    try {
      const content = living < 0 ? undefined : unlessItFails(read)
      if (content === undefined) return this.#writeFile(level, { name, path, opened: NOT_OPENED, living })
      this.#writeParents()
      this.#parts.writer.content(path, content, this.#status)
      return true
    } finally {
      if (living >= 0) close(living)
    }
  }

  /** @returns false when the name came to stand for something else while it was looked at */
  #visitNamed(level: Level, place: VisitedName): boolean {
    const { name, path, selection } = place
    const terminated = this.#ahead.terminated(name)
    try {
      const isLooked = place.isInTable === true && this.#parts.live?.look(level, this.#status) !== undefined
      const status = isLooked ? this.#status : this.#status.readName(level.fd, terminated)
      // A list of changes names what is gone too; what the chain holds of it is found gone when the walk moves on.
      if (status === undefined) return this.#isMissing(path, selection)
      if (status.kind === 'directory') return this.#enter(level, place)
      if (status.kind === 'socket') return this.#refuse(path, 'socket')
      if (this.#isUnchanged(path) && !this.#isWritten(level, place)) return true
      if (status.kind === 'file') return this.#writeChanged(level, name, path)
      this.#writeParents()
      this.#status.readName(level.fd, terminated)
      return this.#parts.writer.special(
        path,
        { directoryFd: level.fd, name: cString(Buffer.from(name, 'latin1')) },
        this.#status,
      )
    } catch (error) {
      if (errorCodeOf(error) === undefined) throw error
      return this.#refuse(path, 'unreadable')
    }
  }

  #isWritten({ fd }: Level, { name, path, selection }: VisitedName): boolean {
    const { patches } = this.#parts
    if (patches === undefined) return false
    const place = { path, directoryFd: fd, name: this.#ahead.terminated(name) }
    return patches.isWritten(place, this.#status, this.#before, selection !== undefined)
  }

  #isMissing(path: BytePath, selection: Selection | undefined): true {
    if (selection?.own === 'rewritten') this.#tellGone(path)
    return selection !== undefined || this.#refuse(path, 'vanished')
  }

  /** A file whose status has been read. */
  #writeChanged(level: Level, name: BytePath, path: BytePath): boolean {
    const { live } = this.#parts
    const living = live?.mayLive(level, this.#status)
      ? tryOpenBeneath(level.liveFd, this.#ahead.terminated(name), READ_LIVE_FILE)
      : NOT_OPENED
    const read = () => live?.read(level, living, this.#status)
    return this.#writeWhereItLives(level, { name, path, living, read })
  }

  #writeFile(level: Level, { name, path, opened, living }: OpenedName): boolean {
    const isOpen = opened >= 0
    const fd = isOpen ? opened : tryOpenBeneath(level.fd, this.#ahead.terminated(name), READ_FILE)
    if (fd < 0) return this.#cannotOpen(path)
    try {
      this.#writeParents()
      const status = this.#status.readDescriptor(fd)
      // Opened a little before, its name may be gone by now, or another's.
      if (status.kind !== 'file' || (isOpen && status.links === 0)) return false
      if (living >= 0 || this.#parts.live?.mayFollow(level, status) !== true)
        this.#writeOpen(level, { path, fd, living })
      else this.#writeFollowed(level, name, { path, fd })
      return true
    } finally {
      close(fd)
    }
  }

  #writeFollowed(level: Level, name: BytePath, { path, fd }: Pick<OpenFile, 'path' | 'fd'>): void {
    const living = tryOpenBeneath(level.liveFd, this.#ahead.terminated(name), READ_LIVE_FILE)
    try {
      this.#writeOpen(level, { path, fd, living })
    } finally {
      if (living >= 0) close(living)
    }
  }

  /** A file that is open, of which the status has been read. */
  #writeOpen(level: Level, { path, fd, living }: OpenFile): void {
    const { live, patches, writer } = this.#parts
    const followed = live?.follow(level, { fd: living, snapshotFd: fd }, this.#status)
    const patch = patches?.of(path, fd, this.#status, this.#before)
    if (patch === undefined) writer.file(path, { fd, living: followed }, this.#status)
    else writer.patch(path, { fd, living: followed }, this.#status, patch)
  }

  /** @returns false when it is no directory any more */
  #enter(level: Level, { name, path, selection }: VisitedName): boolean {
    const entered = this.#levels.enter(level.fd, name)
    if (entered === 'too-deep') return this.#refuse(path, 'too-deep')
    if (entered !== 'entered') return this.#cannotOpen(path)
    // A directory meanwhile, where the chain holds none.
    if (selection?.own === 'rewritten') this.#markLost(path)
    this.#visitDirectory(selection)
    return true
  }

  #visitDirectory(selection: Selection | undefined): void {
    const level = this.#levels.top
    if (level === undefined) return
    try {
      const isWhole = selection?.own !== 'passing' && this.#compareDirectory(level, selection)
      if (isWhole) level.names = this.#levels.list(level)
      else Object.assign(level, this.#selected(level, selection))
    } catch (error) {
      if (errorCodeOf(error) === undefined) throw error
      this.#refuse(level.path, 'unreadable')
    }
  }

  /** @returns whether everything in it is to be looked at: it was asked for, or the chain knows another directory here */
  #compareDirectory(level: Level, selection: Selection | undefined): boolean {
    this.#status.readDescriptor(level.fd)
    const entry = this.#parts.previous?.current
    const isKnown =
      entry?.path === level.path && entry.isDirectory && entry.inode === this.#parts.realms.identify(this.#status).inode
    if ((selection?.own === 'entry' || selection?.own === 'rewritten') && !isKnown && this.#parts.wanted?.isAll)
      throw new FleetError('conflict', 'the image was written to before it was read')
    if (!this.#isUnchanged(level.path)) this.#writeParents()
    return selection?.own !== 'entry' || !isKnown
  }

  #selected(level: Level, selection: Selection | undefined): Pick<Level, 'names' | 'selections'> {
    const { wanted } = this.#parts
    if (wanted === undefined || selection === undefined) return { names: [], selections: [] }
    return selectedNames(wanted, level.path, selection)
  }

  #leave(level: Level): void {
    // What the chain holds beyond the last entry here is found gone only when the walk moves on, or never.
    this.#passGone(undefined, level.path)
    if (level.lost) this.#tellLost(level)
    this.#levels.leave()
  }

  #tellLost(level: Level): void {
    try {
      if (level.selections !== undefined) level.names = this.#levels.list(level)
      this.#parts.lost(level)
    } catch (error) {
      if (errorCodeOf(error) === undefined) throw error
      this.#parts.problem(level.path, 'unreadable')
    }
  }

  /** A member's directories go before it, so that every archive of a chain can be extracted by itself. */
  #writeParents(): void {
    for (const level of this.#levels.all) {
      if (level.written) continue
      level.written = true
      const status = new Status().readDescriptor(level.fd)
      this.#levels.of(level, () => this.#parts.writer.directory(level.path, level.fd, status))
    }
  }

  /** Compares with what the chain holds of this path, and moves on behind it. */
  #isUnchanged(path: BytePath): boolean {
    const { previous } = this.#parts
    this.#before = undefined
    if (previous?.current?.path !== path) return false
    const entry = previous.current
    this.#before = entry
    previous.advance()
    const unchanged = isSame(entry, this.#status, this.#parts.realms.identify(this.#status))
    const isDirectory = this.#status.kind === 'directory'
    // What a directory held is below a name that is a file now: nothing of its own to tell.
    if (!isDirectory) previous.skipBelow(path)
    // Plain tar replaces a directory by a file only when it is told to delete it.
    if (isDirectory !== entry.isDirectory) this.#markLost(path)
    return unchanged
  }

  /** What the chain holds before `path` (or, without one, below `directory`) is not in the tree any more. */
  #passGone(path: BytePath | undefined, directory: BytePath = ''): void {
    const { previous } = this.#parts
    if (previous === undefined) return
    for (let entry = previous.current; entry !== undefined; entry = previous.current) {
      if (path === undefined ? !isWithin(entry.path, directory) : comparePaths(entry.path, path) >= 0) return
      this.#tellGone(entry.path)
      previous.skipBelow(entry.path)
    }
  }

  #tellGone(path: BytePath): void {
    this.#parts.line(path, goneLine(path))
    this.#markLost(path)
  }

  #markLost(path: BytePath): void {
    const parent = this.#levels.all.findLast((level) => level.path !== path && isWithin(path, level.path))
    if (parent !== undefined) parent.lost = true
  }

  #cannotOpen(path: BytePath): boolean {
    const code = lastErrorCode()
    if (code === 'ELOOP' || code === 'ENOTDIR' || code === 'ENXIO' || code === 'EAGAIN') return false
    if (code === 'ENOENT') return this.#refuse(path, 'vanished')
    return this.#refuse(path, code === 'EXDEV' ? 'mount-point' : 'unreadable')
  }

  /** Leaves an entry out; what the chain holds of it stays, as nobody knows better. */
  #refuse(path: BytePath, reason: ProblemReason): true {
    this.#parts.problem(path, reason)
    const { previous } = this.#parts
    if (reason === 'vanished' || reason === 'socket' || previous === undefined) return true
    if (previous.current?.path === path) previous.advance()
    previous.skipBelow(path)
    return true
  }
}

/** What cannot be read where it lives may be read in the snapshot. */
function unlessItFails<Result>(read: () => Result): Result | undefined {
  try {
    return read()
  } catch (error) {
    if (errorCodeOf(error) === undefined) throw error
    return undefined
  }
}

function isSame(entry: PreviousEntry, status: Status, { inode, changed }: Identity): boolean {
  return (
    !entry.flawed &&
    entry.inode === inode &&
    entry.ctime === changed &&
    entry.mtime === status.modified &&
    (status.kind === 'directory' || entry.size === (status.kind === 'file' ? status.sizeBytes : 0)) &&
    entry.isDirectory === (status.kind === 'directory')
  )
}
