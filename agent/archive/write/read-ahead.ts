import { close, type OpenHow, tryOpenBeneath } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import type { LiveFiles } from './live-files.ts'
import { askForContent, MemoryProbe, READ_FILE, READ_LIVE_FILE } from './read-file.ts'
import { isFile, type Level, unmarked } from './tree-levels.ts'

/** Small files read one after the other wait for the disk each: these are asked for together. */
const FILES_AHEAD = 32
/** Asking costs more than reading what is in memory: one of so many is looked at, and those behind it are taken to be where it is. */
const PROBE_EVERY = 8
/** NAME_MAX and its NUL, and room for what file systems of others may yet allow. */
const NAME_BYTES = 4_096

/** Opens files that the walk comes to next, and has the kernel begin to read them. */
export class ReadAhead {
  readonly #name = Buffer.alloc(NAME_BYTES)
  readonly #status = new Status()
  /** Of the file that the walk is at, and those right behind it; negative where one could not be opened. */
  readonly #opened: number[] = []
  readonly #probe = new MemoryProbe()
  readonly #live: LiveFiles | undefined
  #files = 0
  #isInMemory = true

  constructor(live: LiveFiles | undefined) {
    this.#live = live
  }

  /**
   * Where every file is read: opens the one that the level is at, as it lives where that is known, and those that follow up to the next that is no
   * file. Called for each of them in turn.
   * @returns a descriptor, the caller's from now on; negative: to be opened by the caller, who then learns why
   */
  open(level: Level): number {
    const { directoryFd, how } = placeOf(level, this.#live?.readsShort(level) === true)
    while (this.#opened.length <= FILES_AHEAD) {
      const name = fileAt(level, this.#opened.length)
      if (name === undefined) break
      const opened = tryOpenBeneath(directoryFd, this.terminated(name), how)
      if (opened >= 0) this.#askWhereNeeded(opened)
      this.#opened.push(opened)
    }
    return this.#opened.shift() ?? -1
  }

  /** Where a list tells what is to be looked at: begins with the next of that level whenever it comes to a multiple of so many. */
  advise(level: Level): void {
    const current = level.next - 1
    if (current % FILES_AHEAD !== 0) return
    for (const name of level.names.slice(current, current + FILES_AHEAD)) this.#adviseNamed(level, name)
  }

  close(): void {
    for (const fd of this.#opened.splice(0)) if (fd >= 0) close(fd)
  }

  #askWhereNeeded(fd: number): void {
    if (this.#files % PROBE_EVERY === 0) this.#isInMemory = this.#probe.has(fd)
    this.#files += 1
    if (!this.#isInMemory) askForContent(fd)
  }

  /** @returns valid until the next call */
  terminated(name: string): Buffer {
    this.#name[this.#name.write(name, 'latin1')] = 0
    return this.#name
  }

  /** What is no file may mind being opened. Whoever comes to it tells what is wrong with it. */
  #adviseNamed(level: Level, name: string): void {
    const terminated = this.terminated(name)
    let isLiving = false
    try {
      const status = this.#status.readName(level.fd, terminated)
      if (status?.kind !== 'file' || status.sizeBytes === 0) return
      // Of a clone nothing living: XFS would have the advice wait for a call that is writing to it.
      isLiving = this.#live?.mayLive(level, status) === true
    } catch (error) {
      if (errorCodeOf(error) === undefined) throw error
      return
    }
    const { directoryFd, how } = placeOf(level, isLiving)
    const fd = tryOpenBeneath(directoryFd, terminated, how)
    if (fd < 0) return
    this.#askWhereNeeded(fd)
    close(fd)
  }
}

interface Place {
  readonly directoryFd: number
  readonly how: OpenHow
}

function placeOf({ fd, liveFd }: Level, isLiving: boolean): Place {
  return isLiving ? { directoryFd: liveFd, how: READ_LIVE_FILE } : { directoryFd: fd, how: READ_FILE }
}

/** The name of a file so many places behind the one that the level is at. */
function fileAt({ names, next }: Level, index: number): string | undefined {
  const name = names[next - 1 + index]
  return name !== undefined && isFile(name) ? unmarked(name) : undefined
}
