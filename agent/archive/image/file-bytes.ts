import { writeSync } from 'node:fs'
import { libc } from '../../native/libc.ts'
import { Status } from '../../native/status.ts'
import { checked, lastErrorCode } from '../../native/system-error.ts'
import type { ProblemReason } from '../member.ts'
import type { ImageBytes } from './image-bytes.ts'

const SEEK_DATA = 3
const SEEK_HOLE = 4
/** linux/fadvise.h */
const POSIX_FADV_WILLNEED = 3

/** An open file or block device. */
export class FileBytes implements ImageBytes {
  readonly #fd: number
  readonly isDoubtful = false

  /** @param fd stays open */
  constructor(fd: number) {
    this.#fd = fd
  }

  get endBytes(): number | undefined {
    const { kind, sizeBytes } = new Status().readDescriptor(this.#fd)
    return kind === 'file' ? sizeBytes : undefined
  }

  get stamp(): string | undefined {
    const { kind, sizeBytes, modified } = new Status().readDescriptor(this.#fd)
    return kind === 'file' ? `${modified} ${sizeBytes}` : undefined
  }

  data(from: number): { readonly start: number; readonly end: number } | undefined {
    const start = libc().lseek(this.#fd, from, SEEK_DATA)
    const code = start < 0 ? lastErrorCode() : undefined
    // Nothing but a hole from here on.
    if (code === 'ENXIO') return undefined
    // A block device does not tell.
    if (code === 'EINVAL' || code === 'EOPNOTSUPP') return { start: from, end: Number.POSITIVE_INFINITY }
    const found = checked('lseek', start)
    return { start: found, end: checked('lseek', libc().lseek(this.#fd, found, SEEK_HOLE)) }
  }

  ahead(from: number, end: number): void {
    // Only a hint: whoever knows none reads as he does.
    libc().posix_fadvise(this.#fd, from, end - from, POSIX_FADV_WILLNEED)
  }

  read(room: Buffer, position: number): ProblemReason | undefined {
    let read = 0
    while (read < room.length) {
      const bytes = libc().pread(this.#fd, read === 0 ? room : room.subarray(read), room.length - read, position + read)
      if (bytes <= 0) {
        room.fill(0, read)
        return bytes < 0 ? 'unreadable' : 'changed'
      }
      read += bytes
    }
    return undefined
  }

  write(bytes: Buffer, position: number): void {
    for (let done = 0; done < bytes.length; )
      done += writeSync(this.#fd, bytes, done, bytes.length - done, position + done)
  }

  [Symbol.dispose](): void {}
}
