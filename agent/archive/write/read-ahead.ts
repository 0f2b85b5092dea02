import { close, tryOpenBeneath } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import type { OpenAhead } from './open-ahead.ts'
import { askForContent, READ_FILE } from './read-file.ts'
import { FILE, type Level, unmarked } from './tree-levels.ts'

/** Small files read one after the other wait for the disk each: these are asked for together. */
const FILES_AHEAD = 32
/** Asking costs as much as reading what is in memory: it is not done before files turn out to take longer than that, each. */
const SLOW_MS = 0.1
/** Of `FILES_AHEAD` files: then those that follow are taken for slow too, and after so many it is looked at again. */
const SLOW_BLOCKS = 256
/** Shorter runs of files are opened by the thread that reads them: handing them over takes as long. */
const SHARED_RUN = 48
/** Of files in such runs, before another thread is worth its start. */
const SHARED_FILES = 1_000
/** NAME_MAX and its NUL, and room for what file systems of others may yet allow. */
const NAME_BYTES = 4_096

export interface OpenedFile {
  /** The caller's from now on; negative: to be opened by the caller, who then learns why. */
  readonly fd: number
  /** The status is that of the file; else it is to be read. */
  readonly isRead: boolean
  readonly hasNoAttributes: boolean
}

/** Where another thread may open what the walk comes to next. */
export interface AheadThread {
  readonly files: OpenAhead
  /** Has it begin, for the rest of this archive. Called once. */
  start(): void
}

/**
 * Has the kernel begin to read files that the walk comes to next. A snapshot that was just taken shares its blocks with its source and nothing of
 * what is in memory, so all of it is read from disk. Where there are many, another thread opens them.
 */
export class ReadAhead {
  readonly #thread: AheadThread | undefined
  readonly #name = Buffer.alloc(NAME_BYTES)
  readonly #status = new Status()
  /** Of the file that the walk is at, and those right behind it; negative where one could not be opened. */
  readonly #opened: number[] = []
  #files = 0
  #blockMs = 0
  #slowBlocks = 0
  /** Files with many more behind them. */
  #inLongRuns = 0

  constructor(thread: AheadThread | undefined) {
    this.#thread = thread
  }

  /**
   * Where every file is read: opens the one that the level is at, and those that follow up to the next that is no file. Called for each of them in turn.
   * @param status becomes that of the file where it is known already
   */
  open(level: Level, status: Status): OpenedFile {
    if (this.#files % FILES_AHEAD === 0) this.#judge()
    this.#files += 1
    const files = this.#thread?.files
    const isShared = files?.isRunning || this.#isWorthSharing(level)
    if (files === undefined || !isShared || this.#opened.length > 0)
      return { fd: this.#openHere(level, isShared), isRead: false, hasNoAttributes: false }
    if (!files.isRunning) files.begin(level.fd, (index) => fileAt(level, index))
    const { fd, hasNoAttributes } = files.take(status)
    return { fd, isRead: fd >= 0, hasNoAttributes }
  }

  /** @param isLast of those that this thread opens */
  #openHere(level: Level, isLast: boolean): number {
    while (!isLast && this.#opened.length <= FILES_AHEAD) {
      const name = fileAt(level, this.#opened.length)
      if (name === undefined) break
      const opened = tryOpenBeneath(level.fd, this.terminated(name), READ_FILE)
      if (opened >= 0 && this.#slowBlocks > 0) askForContent(opened)
      this.#opened.push(opened)
    }
    return this.#opened.shift() ?? -1
  }

  #isWorthSharing(level: Level): boolean {
    const thread = this.#thread
    if (thread === undefined || fileAt(level, SHARED_RUN) === undefined) return false
    this.#inLongRuns += 1
    if (this.#inLongRuns === SHARED_FILES) thread.start()
    return thread.files.isThere
  }

  /** Where a list tells what is to be looked at: begins with the next of that level whenever it comes to a multiple of so many. */
  advise({ fd, names, next }: Level): void {
    const current = next - 1
    if (current % FILES_AHEAD !== 0) return
    for (const name of names.slice(current, current + FILES_AHEAD)) this.#adviseNamed(fd, name)
  }

  close(): void {
    this.#thread?.files.close()
    for (const fd of this.#opened.splice(0)) if (fd >= 0) close(fd)
  }

  #judge(): void {
    const nowMs = performance.now()
    const isSlow = this.#files > 0 && nowMs - this.#blockMs > FILES_AHEAD * SLOW_MS
    if (this.#slowBlocks > 0) this.#slowBlocks -= 1
    else if (isSlow) this.#slowBlocks = SLOW_BLOCKS
    this.#blockMs = nowMs
    if (this.#thread !== undefined) this.#thread.files.isSlow = this.#slowBlocks > 0
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
    askForContent(fd)
    close(fd)
  }
}

/** The name of a file so many places behind the one that the level is at. */
function fileAt({ names, next }: Level, index: number): string | undefined {
  const name = names[next - 1 + index]
  return name?.endsWith(FILE) ? unmarked(name) : undefined
}
