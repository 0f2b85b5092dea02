import {
  constants,
  fstat as fstatCallback,
  fsync as fsyncCallback,
  ftruncate as ftruncateCallback,
  write as writeCallback,
} from 'node:fs'
import { promisify } from 'node:util'
import { FleetError } from '../../../shared/errors.ts'
import { cString } from '../../native/libc.ts'
import { close, createFile, RENAME_NOREPLACE, removeFile, rename, reopen } from '../../native/paths.ts'
import { reserveSpace } from '../../native/reserve.ts'
import { WriteBehind } from '../../native/write-behind.ts'
import type { Upload } from '../transfer.ts'

const FILE_MODE = 0o600
const write = promisify(writeCallback)
const fsync = promisify(fsyncCallback)
const fstat = promisify(fstatCallback)
const ftruncate = promisify(ftruncateCallback)

export interface LocalNames {
  readonly partial: string
  readonly final: string
}

/** Writes a partial file in a directory whose descriptor it takes over; fsync, rename, fsync of the directory. */
export async function createLocalUpload(
  directoryFd: number,
  names: LocalNames,
  options: { readonly sizeBytes: number | undefined; readonly replace: boolean },
): Promise<Upload> {
  const upload = new LocalUpload(directoryFd, names, options.replace)
  try {
    await upload.reserve(options.sizeBytes ?? 0)
    return upload
  } catch (error) {
    await upload.discard()
    throw error
  }
}

class LocalUpload implements Upload {
  readonly readable = true
  readonly #directoryFd: number
  readonly #names: LocalNames
  readonly #replace: boolean
  #fd: number | undefined
  #behind: WriteBehind | undefined
  #sizeBytes = 0
  #published = false
  #directoryOpen = true

  constructor(directoryFd: number, names: LocalNames, replace: boolean) {
    this.#directoryFd = directoryFd
    this.#names = names
    this.#replace = replace
    try {
      this.#fd = createFile(directoryFd, cString(names.partial), FILE_MODE)
    } catch (error) {
      close(directoryFd)
      throw error
    }
  }

  async reserve(sizeBytes: number): Promise<void> {
    await reserveSpace(this.#open(), sizeBytes)
  }

  async write(chunk: Buffer): Promise<void> {
    const fd = this.#open()
    for (let written = 0; written < chunk.length; ) {
      const { bytesWritten } = await write(fd, chunk, written, chunk.length - written, this.#sizeBytes)
      written += bytesWritten
      this.#sizeBytes += bytesWritten
    }
    this.#behind ??= new WriteBehind(fd)
    this.#behind.grown(this.#sizeBytes)
  }

  async close(): Promise<void> {
    const fd = this.#open()
    await this.#behind?.settled()
    await ftruncate(fd, this.#sizeBytes) // gives back what was reserved and not used
    await fsync(fd)
    const { size } = await fstat(fd)
    if (size !== this.#sizeBytes) throw new FleetError('corrupt', 'the file is not as long as what was written')
    close(fd)
    this.#fd = undefined
  }

  async publish(): Promise<{ readonly checksum: boolean }> {
    const { partial, final } = this.#names
    rename(this.#directoryFd, cString(partial), cString(final), this.#replace ? 0 : RENAME_NOREPLACE)
    this.#published = true
    const readable = reopen(this.#directoryFd, constants.O_RDONLY | constants.O_DIRECTORY)
    try {
      await fsync(readable)
    } finally {
      close(readable)
      this.#closeDirectory()
    }
    return { checksum: false }
  }

  async discard(): Promise<void> {
    await this.#behind?.settled().catch(() => undefined)
    if (this.#fd !== undefined) close(this.#fd)
    this.#fd = undefined
    if (this.#directoryOpen && !this.#published) removeFile(this.#directoryFd, cString(this.#names.partial))
    this.#closeDirectory()
  }

  #closeDirectory(): void {
    if (this.#directoryOpen) close(this.#directoryFd)
    this.#directoryOpen = false
  }

  #open(): number {
    if (this.#fd === undefined) throw new FleetError('internal', 'the upload has ended')
    return this.#fd
  }
}
