import { constants } from 'node:fs'
import { FleetError } from '../../shared/errors.ts'
import { type DirectoryEntry, DirectoryReader } from '../native/directory-entries.ts'
import { type CString, cString, libc } from '../native/libc.ts'
import { close, createFile, howBeneath, makeDirectory, tryOpenBeneath } from '../native/paths.ts'
import { Status } from '../native/status.ts'
import { checked, lastErrorCode } from '../native/system-error.ts'
import { type Chosen, isWhole, mayBeLost } from './chosen.ts'
import type { Counters } from './counters.ts'
import { type ContentMode, transferContent } from './file-content.ts'
import { HardLinks } from './hard-links.ts'
import { disinherit, MetadataCopier } from './metadata.ts'
import { copySpecialEntry } from './special-entry.ts'
import type { StampWriter } from './stamps.ts'

/** Two descriptors a level. Paths longer than PATH_MAX / 2 levels are beyond what any tool can name. */
const MAX_DEPTH = 2_048
const DOT = cString('.')
const STAGED_MODE = 0o700
/** An entry that changes its kind each time it is looked at. */
const ENTRY_ATTEMPTS = 3

const READ_FILE = howBeneath(constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
const READ_DIRECTORY = howBeneath(constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_DIRECTORY)

/** One directory on the way down. `subdirectories` are still to be cloned; the last is taken first. */
interface Level {
  readonly sourceFd: number
  readonly targetFd: number
  readonly subdirectories: Buffer[]
  /** Undefined: all of it is cloned. */
  readonly chosen: Chosen | undefined
}

export interface TreeSource {
  /** Of the directory to clone, open for reading; stays open. */
  readonly sourceFd: number
  /** Of the directory that gets the clone; stays open. */
  readonly parentFd: number
  /** NUL-terminated; free in `parentFd`. While the clone grows it is 0700 and root's, so nobody walks into it. */
  readonly name: Buffer
  readonly mode: ContentMode
  /** Gets what each entry of the source was when it was cloned. */
  readonly stamps?: StampWriter | undefined
  /**
   * Only this is cloned, and the directories that lead to it. Of a directory that may have lost an entry the other names are made
   * too, empty.
   */
  readonly chosen?: Chosen | undefined
}

/**
 * Clones a directory tree by descriptors alone: each component is opened below its parent's descriptor, never a path from
 * a root, so a directory that is swapped for a link meanwhile cannot lead out. Synchronous: for a worker thread.
 * @returns whether no byte was copied
 * @throws SystemError; cancelled; refused (a mount point inside the tree); busy (an entry never held still); conflict (what was
 * chosen is not there any more)
 */
export function cloneTree(source: TreeSource, counters: Counters): { readonly cow: boolean } {
  using cloner = new TreeCloner(source, counters)
  return cloner.run()
}

class TreeCloner implements Disposable {
  readonly #source: TreeSource
  readonly #counters: Counters
  readonly #reader = new DirectoryReader()
  readonly #status = new Status()
  readonly #made = new Status()
  readonly #after = new Status()
  readonly #metadata = new MetadataCopier()
  readonly #links = new HardLinks()
  readonly #levels: Level[] = []
  #cow = true
  #ownRoot = ''

  constructor(source: TreeSource, counters: Counters) {
    this.#source = source
    this.#counters = counters
  }

  run(): { readonly cow: boolean } {
    this.#begin()
    for (let level = this.#levels.at(-1); level !== undefined; level = this.#levels.at(-1)) {
      this.#counters.throwIfStopped()
      const name = level.subdirectories.pop()
      if (name === undefined) this.#leave(level)
      else this.#enterNamed(level, name)
    }
    return { cow: this.#cow }
  }

  [Symbol.dispose](): void {
    this.#links[Symbol.dispose]()
    for (const level of this.#levels) this.#close(level)
  }

  #begin(): void {
    const { sourceFd, parentFd, name } = this.#source
    // A descriptor of its own: reading the caller's would move the caller's position.
    const ownFd = checked('openat2', tryOpenBeneath(sourceFd, DOT, READ_DIRECTORY))
    this.#enter(ownFd, parentFd, name, this.#source.chosen)
    this.#cloneEntries()
  }

  #enterNamed(level: Level, name: Buffer): void {
    const sourceFd = this.#open(level.sourceFd, name, READ_DIRECTORY)
    if (sourceFd === 'changed') this.#cloneEntry(level, { name, type: 'unknown', copyName: () => name })
    if (typeof sourceFd !== 'number') return
    const { device, inode } = this.#status.readDescriptor(sourceFd)
    if (`${device}:${inode}` === this.#ownRoot) {
      close(sourceFd) // the clone is being made inside what it clones
      return
    }
    this.#enter(sourceFd, level.targetFd, name, level.chosen?.below.get(textOf(name)))
    this.#cloneEntries()
  }

  #enter(sourceFd: number, parentFd: number, name: Buffer, chosen: Chosen | undefined): void {
    let targetFd = -1
    try {
      if (this.#levels.length === MAX_DEPTH)
        throw new FleetError('too_large', `the tree is deeper than ${MAX_DEPTH} levels`)
      makeDirectory(parentFd, name, STAGED_MODE)
      targetFd = checked('openat2', tryOpenBeneath(parentFd, name, READ_DIRECTORY))
      if (this.#levels.length === 0) this.#shutOut(targetFd)
    } catch (error) {
      close(sourceFd)
      if (targetFd >= 0) close(targetFd)
      throw error
    }
    const level = { sourceFd, targetFd, subdirectories: [] }
    this.#levels.push({ ...level, chosen: this.#narrowed(chosen, sourceFd) })
  }

  #narrowed(chosen: Chosen | undefined, sourceFd: number): Chosen | undefined {
    return chosen === undefined || isWhole(chosen, this.#status.readDescriptor(sourceFd).inode) ? undefined : chosen
  }

  /** What the new root inherited from its parent must not reach the files below it, nor let anyone in. */
  #shutOut(targetFd: number): void {
    disinherit(targetFd)
    checked('fchmod', libc().fchmod(targetFd, STAGED_MODE))
    const { device, inode } = this.#status.readDescriptor(targetFd)
    this.#ownRoot = `${device}:${inode}`
    this.#links.within(targetFd)
  }

  #cloneEntries(): void {
    const level = this.#levels.at(-1)
    if (level === undefined) return
    if (level.chosen !== undefined) {
      this.#cloneChosen(level, level.chosen.below)
      return
    }
    this.#reader.forEach(level.sourceFd, (entry) => {
      if (entry.type === 'directory') level.subdirectories.push(entry.copyName())
      else this.#cloneEntry(level, entry)
    })
  }

  #cloneChosen(level: Level, below: ReadonlyMap<string, Chosen>): void {
    let mayHaveLost = false
    for (const [text, chosen] of below) {
      const name = cString(Buffer.from(text, 'latin1'))
      const kind = this.#status.readName(level.sourceFd, name)?.kind
      mayHaveLost ||= mayBeLost(chosen, kind === undefined || kind === 'directory' ? kind : 'other')
      if (kind === 'directory') level.subdirectories.push(name)
      else if (kind !== undefined) {
        this.#cloneEntry(level, { name, type: 'unknown', copyName: () => name })
        // Gone since it was looked at.
        mayHaveLost ||= this.#status.readName(level.targetFd, name) === undefined
      }
    }
    if (mayHaveLost) this.#reader.forEach(level.sourceFd, (entry) => this.#makeName(level, entry, below))
  }

  /** An entry of which nothing but the name and kind is needed; of sockets not even that. */
  #makeName(level: Level, entry: DirectoryEntry, below: ReadonlyMap<string, Chosen>): void {
    if (below.has(textOf(entry.copyName()))) return
    const isPlain = entry.type === 'file' || entry.type === 'directory'
    const kind = isPlain ? entry.type : this.#status.readName(level.sourceFd, entry.name)?.kind
    if (kind === undefined || kind === 'socket') return
    if (kind === 'directory') makeDirectory(level.targetFd, entry.copyName(), STAGED_MODE)
    else close(createFile(level.targetFd, entry.name, STAGED_MODE))
  }

  /** Times and mode come last: filling the directory changed the one and may need the other. */
  #leave(level: Level): void {
    const { sourceFd, targetFd } = level
    if (this.#levels.length === 1) this.#links.remove(() => this.#counters.throwIfStopped())
    const status = this.#status.readDescriptor(sourceFd)
    this.#metadata.toDescriptor(status, { sourceFd, targetFd, createdMode: STAGED_MODE })
    this.#stampOpen(status, sourceFd, targetFd)
    this.#levels.pop()
    this.#close(level)
    this.#counters.addFiles(1)
  }

  #close(level: Level): void {
    close(level.sourceFd)
    close(level.targetFd)
  }

  #cloneEntry(level: Level, entry: DirectoryEntry): void {
    this.#counters.throwIfStopped()
    if (entry.type === 'file' && this.#cloneFile(level, entry)) return
    for (let attempt = 0; attempt < ENTRY_ATTEMPTS; attempt += 1) {
      const status = this.#status.readName(level.sourceFd, entry.name)
      if (status === undefined) return // deleted since the directory was read: a live tree
      if (status.kind === 'directory') {
        level.subdirectories.push(entry.copyName())
        return
      }
      if (status.kind === 'file' ? this.#cloneFile(level, entry) : this.#cloneSpecial(level, entry)) return
    }
    throw new FleetError('busy', 'an entry of the tree changes too fast to be read')
  }

  /** @returns false when the name stands for something else by now */
  #cloneSpecial(level: Level, entry: DirectoryEntry): boolean {
    const status = this.#status
    if (!this.#links.repeat(status, level.targetFd, entry.name)) {
      const place = { sourceFd: level.sourceFd, targetFd: level.targetFd, name: entry.copyName() }
      if (!copySpecialEntry(place, status, this.#metadata)) return false
      this.#stampNamed(status, place)
      this.#links.keep(status, level.targetFd, entry.name)
    }
    this.#counters.addFiles(1)
    return true
  }

  /** @returns false when the name is no longer a regular file */
  #cloneFile(level: Level, entry: DirectoryEntry): boolean {
    const sourceFd = this.#open(level.sourceFd, entry.name, READ_FILE)
    if (sourceFd === 'changed') return false
    if (sourceFd === 'gone') return true
    try {
      const status = this.#status.readDescriptor(sourceFd)
      if (status.kind !== 'file') return false
      if (!this.#links.repeat(status, level.targetFd, entry.name)) this.#fillFile(sourceFd, level, entry)
      this.#counters.addFiles(1)
      return true
    } finally {
      close(sourceFd)
    }
  }

  #fillFile(sourceFd: number, level: Level, entry: DirectoryEntry): void {
    const status = this.#status
    const createdMode = this.#metadata.createMode(status.permissions)
    const targetFd = createFile(level.targetFd, entry.name, createdMode)
    try {
      const { sizeBytes, allocatedBytes } = status
      const shared = transferContent(
        { sourceFd, targetFd, sizeBytes, allocatedBytes },
        this.#source.mode,
        this.#counters,
      )
      if (!shared) this.#cow = false
      this.#metadata.toDescriptor(status, { sourceFd, targetFd, createdMode })
      this.#stampOpen(status, sourceFd, targetFd)
    } finally {
      close(targetFd)
    }
    this.#links.keep(status, level.targetFd, entry.name)
  }

  #stampOpen(status: Status, sourceFd: number, targetFd: number): void {
    if (this.#source.stamps === undefined) return
    this.#source.stamps.add(this.#made.readDescriptor(targetFd), status, this.#after.readDescriptor(sourceFd))
  }

  #stampNamed(
    status: Status,
    place: { readonly sourceFd: number; readonly targetFd: number; readonly name: CString },
  ): void {
    if (this.#source.stamps === undefined) return
    const made = this.#made.readName(place.targetFd, place.name)
    const after = this.#after.readName(place.sourceFd, place.name)
    if (made !== undefined && after !== undefined) this.#source.stamps.add(made, status, after)
  }

  #open(directoryFd: number, name: CString, how: Buffer): number | 'gone' | 'changed' {
    const fd = tryOpenBeneath(directoryFd, name, how)
    if (fd >= 0) return fd
    const code = lastErrorCode()
    if (code === 'ENOENT') return 'gone'
    if (code === 'ELOOP' || code === 'ENOTDIR' || code === 'ENXIO' || code === 'EAGAIN') return 'changed'
    if (code === 'EXDEV') throw new FleetError('refused', 'a mount point stands inside the tree')
    return checked('openat2', fd)
  }
}

function textOf(name: Buffer): string {
  return name.toString('latin1', 0, name.length - 1)
}
