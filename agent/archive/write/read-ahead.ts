import { constants } from 'node:fs'
import { libc } from '../../native/libc.ts'
import { close, howBeneath, tryOpenBeneath } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import { FILE, type Level, unmarked } from './tree-levels.ts'

export const READ_FILE = howBeneath(constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
/** Small files read one after the other wait for the disk each: these are asked for together. */
const FILES_AHEAD = 32
/** Of each; the kernel reads ahead by itself in what is longer. */
const BYTES_AHEAD = 131_072
/** Asking costs as much as reading what is in memory: it is not done before files turn out to take longer than that, each. */
const SLOW_MS = 0.1
/** Of `FILES_AHEAD` files: then those that follow are taken for slow too, and after so many it is looked at again. */
const SLOW_BLOCKS = 32
/** linux/fadvise.h */
const POSIX_FADV_WILLNEED = 3
/** NAME_MAX and its NUL, and room for what file systems of others may yet allow. */
const NAME_BYTES = 4_096

/**
 * Has the kernel begin to read files that the walk comes to next. A snapshot that was just taken shares its blocks with its source and nothing of
 * what is in memory, so all of it is read from disk.
 */
export class ReadAhead {
  readonly #name = Buffer.alloc(NAME_BYTES)
  readonly #status = new Status()
  /** Of the file that the walk is at, and those right behind it; negative where one could not be opened. */
  readonly #opened: number[] = []
  #files = 0
  #blockMs = 0
  #slowBlocks = 0

  /**
   * Where every file is read: opens the one that the level is at, and those that follow up to the next that is no file. Called for each of them in turn.
   * @returns the descriptor, the caller's from now on; negative: to be opened by the caller, who then learns why
   */
  open({ fd, names, next }: Level): number {
    const current = next - 1
    if (this.#files % FILES_AHEAD === 0) this.#judge()
    this.#files += 1
    while (this.#opened.length <= FILES_AHEAD) {
      const name = names[current + this.#opened.length]
      if (!name?.endsWith(FILE)) break
      const opened = tryOpenBeneath(fd, this.terminated(unmarked(name)), READ_FILE)
      if (opened >= 0 && this.#slowBlocks > 0) libc().posix_fadvise(opened, 0, BYTES_AHEAD, POSIX_FADV_WILLNEED)
      this.#opened.push(opened)
    }
    return this.#opened.shift() ?? -1
  }

  /** Where a list tells what is to be looked at: begins with the next of that level whenever it comes to a multiple of so many. */
  advise({ fd, names, next }: Level): void {
    const current = next - 1
    if (current % FILES_AHEAD !== 0) return
    for (const name of names.slice(current, current + FILES_AHEAD)) this.#adviseNamed(fd, name)
  }

  close(): void {
    for (const fd of this.#opened.splice(0)) if (fd >= 0) close(fd)
  }

  #judge(): void {
    const nowMs = performance.now()
    const isSlow = this.#files > 0 && nowMs - this.#blockMs > FILES_AHEAD * SLOW_MS
    if (this.#slowBlocks > 0) this.#slowBlocks -= 1
    else if (isSlow) this.#slowBlocks = SLOW_BLOCKS
    this.#blockMs = nowMs
  }

  /** @returns valid until the next call */
  terminated(name: string): Buffer {
    this.#name[this.#name.write(name, 'latin1')] = 0
    return this.#name
  }

  /** What is no file may mind being opened. Whoever comes to it tells what is wrong with it. */
  #adviseNamed(directoryFd: number, name: string): void {
    const terminated = this.terminated(name)
    try {
      const status = this.#status.readName(directoryFd, terminated)
      if (status?.kind !== 'file' || status.sizeBytes === 0) return
    } catch (error) {
      if (errorCodeOf(error) === undefined) throw error
      return
    }
    const fd = tryOpenBeneath(directoryFd, terminated, READ_FILE)
    if (fd < 0) return
    libc().posix_fadvise(fd, 0, BYTES_AHEAD, POSIX_FADV_WILLNEED)
    close(fd)
  }
}
