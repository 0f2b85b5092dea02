import { settled } from './file-system.ts'
import { libc } from './libc.ts'

/** linux/fs.h: begins to write what is dirty, and waits for nothing. */
const SYNC_FILE_RANGE_WRITE = 2
const STRETCH_BYTES = 2 ** 23

/** Has the kernel write a file out while it grows, so that little is left for the fsync at its end. That alone says what is on disk. */
export class WriteBehind {
  readonly #fd: number
  #begunBytes = 0
  #running: Promise<void> | undefined

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
    this.#running = settled('sync_file_range', (done) =>
      libc().sync_file_range.async(this.#fd, from, bytes, SYNC_FILE_RANGE_WRITE, done),
    )
      .catch(() => undefined) // a disk that fails tells the fsync
      .finally(() => {
        this.#running = undefined
      })
  }

  /** Nothing uses the descriptor any more. */
  async settled(): Promise<void> {
    await this.#running
  }
}
