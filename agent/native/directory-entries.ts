import { addressOf, type CString, libc } from './libc.ts'
import { checked } from './system-error.ts'

const BATCH_BYTES = 65_536
const DOT = 0x2e

/** What a file system says of an entry without looking at it (`d_type`, dirent.h); some say only `unknown`. */
export type EntryType = 'file' | 'directory' | 'other' | 'unknown'
const TYPES: Readonly<Record<number, EntryType>> = { 0: 'unknown', 4: 'directory', 8: 'file' }

/** A name is bytes: file systems do not promise UTF-8. */
export interface DirectoryEntry {
  /** For a system call, now; of an entry that a reader hands out it is valid only until the next. */
  readonly name: CString
  readonly type: EntryType
  /** The same, to keep. */
  copyName(): Buffer
}

export interface ReadEntry extends DirectoryEntry {
  /** Of what has this name; of a mount point, what it hides. */
  inode(): number
}

/** Reads directories by getdents64. Owns its buffer, so one `forEach` at a time. */
export class DirectoryReader {
  readonly #batch = Buffer.allocUnsafeSlow(BATCH_BYTES)
  readonly #address = addressOf(this.#batch)

  /** Calls `each` for every entry but `.` and `..`. @throws SystemError */
  forEach(directoryFd: number, each: (entry: ReadEntry) => void): void {
    const { getdents64 } = libc()
    for (;;) {
      const usedBytes = checked('getdents64', getdents64(directoryFd, this.#batch, BATCH_BYTES))
      if (usedBytes === 0) return
      for (let start = 0; start < usedBytes; start += this.#batch.readUInt16LE(start + 16)) {
        const offset = start + 19
        if (this.#isDots(offset)) continue
        const type = TYPES[this.#batch.readUInt8(start + 18)] ?? 'other'
        const [copyName, inode] = [() => this.#copyName(offset), () => Number(this.#batch.readBigUInt64LE(offset - 19))]
        each({ name: this.#address + offset, type, copyName, inode })
      }
    }
  }

  #isDots(offset: number): boolean {
    if (this.#batch[offset] !== DOT) return false
    return this.#batch[offset + 1] === 0 || (this.#batch[offset + 1] === DOT && this.#batch[offset + 2] === 0)
  }

  #copyName(offset: number): Buffer {
    return Buffer.from(this.#batch.subarray(offset, this.#batch.indexOf(0, offset) + 1))
  }
}
