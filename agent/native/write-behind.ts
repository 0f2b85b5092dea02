import { settled } from './file-system.ts'
import { libc } from './libc.ts'

/** linux/fs.h: waits for what is being written. */
const SYNC_FILE_RANGE_WAIT_BEFORE = 1
/** Begins to write what is dirty, and waits for nothing. */
const SYNC_FILE_RANGE_WRITE = 2
const STRETCH_BYTES = 2 ** 23
/** linux/fadvise.h: what is on the disk leaves the memory. */
const POSIX_FADV_DONTNEED = 4
/** So much at the end stays in memory: what is short is often read again soon, and what was just begun to be written cannot go yet. */
const KEPT_BYTES = 2 ** 25

/**
 * Has the kernel write a file out while it grows, so that little is left for the fsync at its end: that, behind `settled`, says what is on disk. What is written does not
 * stay in memory, where it would take the place of what others read.
 */
export class WriteBehind {
  readonly #fd: number
  #begunBytes = 0
  #droppedBytes = 0
  #running: Promise<void> | undefined
  #failed: { readonly error: unknown } | undefined

  /** @param fd open until `settled` */
  constructor(fd: number) {
    this.#fd = fd
  }

  /** @param sizeBytes how much has been written, from the start on without a gap */
  grown(sizeBytes: number): void {
    const bytes = sizeBytes - this.#begunBytes
    if (bytes < STRETCH_BYTES || this.#running !== undefined) return
    const from = this.#begunBytes
    this.#begunBytes = sizeBytes
    this.#running = this.#sync(from, bytes, SYNC_FILE_RANGE_WRITE)
      .then(() => this.#drop(sizeBytes - KEPT_BYTES))
      .catch(() => undefined) // kept, or told by the fsync
      .finally(() => {
        this.#running = undefined
      })
  }

  async #drop(end: number): Promise<void> {
    const from = this.#droppedBytes
    if (end - from < STRETCH_BYTES) return
    this.#droppedBytes = end
    // What is not on the disk yet would stay. Who waits here is told what failed, and the fsync no more.
    await this.#sync(from, end - from, SYNC_FILE_RANGE_WAIT_BEFORE).catch((error: unknown) => {
      this.#failed = { error }
      throw error
    })
    await settled('posix_fadvise', (done) =>
      libc().posix_fadvise.async(this.#fd, from, end - from, POSIX_FADV_DONTNEED, done),
    )
  }

  #sync(from: number, bytes: number, flags: number): Promise<void> {
    return settled('sync_file_range', (done) => libc().sync_file_range.async(this.#fd, from, bytes, flags, done))
  }

  /** Nothing uses the descriptor any more when this settles. @throws SystemError what could not be written, which the fsync may not tell again */
  async settled(): Promise<void> {
    await this.#running
    if (this.#failed !== undefined) throw this.#failed.error
  }
}
