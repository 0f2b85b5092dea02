import { constants, fstatSync, fsync as fsyncCallback, read as readCallback, statfs as statfsCallback } from 'node:fs'
import { promisify } from 'node:util'
import { FleetError } from '../../../shared/errors.ts'
import { cString } from '../../native/libc.ts'
import {
  close,
  O_PATH,
  openBeneath,
  openWithoutLinks,
  RENAME_NOREPLACE,
  removeDirectory,
  removeFile,
  reopen,
} from '../../native/paths.ts'
import { renameBetween } from '../../native/rename-between.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import { Listing } from '../listing.ts'
import { nameOf, parentOf, segmentsOf } from '../target-path.ts'
import type { Entry, FreeSpace, Page, Store, StoreFile, Upload, UploadOptions, Watch } from '../transfer.ts'
import { entryOf, makeDirectories, namesIn, withDirectory } from './local-directory.ts'
import { createLocalUpload } from './local-upload.ts'

const { O_DIRECTORY, O_RDONLY } = constants
const READ_BYTES = 2 ** 20
const read = promisify(readCallback)
const fsync = promisify(fsyncCallback)
const statfs = promisify(statfsCallback)

/**
 * A directory below the agent's backup root; nothing outside is reached, whatever somebody links there.
 * @param options.root absolute and there already; `base` below it is made
 */
export async function openLocalStore(options: { readonly root: string; readonly base: string }): Promise<Store> {
  const topFd = openWithoutLinks(options.root, O_PATH | O_DIRECTORY)
  try {
    await makeDirectories(topFd, options.base)
    const baseFd = openBeneath(topFd, segmentsOf(options.base).join('/') || '.', O_PATH | O_DIRECTORY)
    return new LocalStore(baseFd)
  } finally {
    close(topFd)
  }
}

class LocalStore implements Store {
  readonly features = { renameDirectory: true, refusesFullDirectory: true }
  readonly #rootFd: number

  constructor(rootFd: number) {
    this.#rootFd = rootFd
  }

  async upload(path: string, options: UploadOptions): Promise<Upload> {
    const directoryFd = openBeneath(this.#rootFd, parentOf(path) || '.', O_PATH | O_DIRECTORY)
    return createLocalUpload(directoryFd, { partial: nameOf(options.partialPath), final: nameOf(path) }, options)
  }

  async open(path: string): Promise<StoreFile> {
    const pathFd = openBeneath(this.#rootFd, segmentsOf(path).join('/'), O_PATH)
    try {
      if (!fstatSync(pathFd).isFile()) throw new FleetError('invalid', 'the path names no file', { field: 'path' })
      return new LocalFile(reopen(pathFd, O_RDONLY))
    } finally {
      close(pathFd)
    }
  }

  async list(path: string, { cursor }: { readonly cursor: string | undefined }): Promise<Page> {
    return withDirectory({ rootFd: this.#rootFd, path }, (fd) => {
      const listing = new Listing()
      for (const name of namesIn(fd)) {
        const entry = name.includes('\ufffd') ? undefined : entryOf(fd, name)
        if (entry !== undefined) listing.add(entry)
      }
      return listing.page(cursor)
    })
  }

  async stat(path: string): Promise<Entry | undefined> {
    const entry = entryOf(this.#rootFd, segmentsOf(path).join('/') || '.')
    return entry && { ...entry, name: segmentsOf(path).at(-1) ?? '' }
  }

  async remove(path: string): Promise<void> {
    const entry = await this.stat(path)
    if (entry === undefined) return
    const remove = entry.kind === 'directory' ? removeDirectory : removeFile
    await this.#in(parentOf(path), async (fd) => {
      remove(fd, cString(nameOf(path)))
      await syncDirectory(fd)
    })
  }

  async rename(from: string, to: string, options: { readonly replace: boolean }): Promise<void> {
    await this.#in(parentOf(from), (fromFd) =>
      this.#in(parentOf(to), async (toFd) => {
        const source = { directoryFd: fromFd, name: cString(nameOf(from)) }
        const destination = { directoryFd: toFd, name: cString(nameOf(to)) }
        renameBetween(source, destination, options.replace ? 0 : RENAME_NOREPLACE)
        await syncDirectory(toFd)
        await syncDirectory(fromFd)
      }),
    )
  }

  async mkdir(path: string): Promise<void> {
    await makeDirectories(this.#rootFd, path)
    await this.#in(parentOf(path), syncDirectory)
  }

  async ping(_watch: Watch): Promise<void> {
    await this.#in('', (fd) => void fstatSync(fd))
  }

  async free(): Promise<FreeSpace> {
    const { bavail, blocks, bsize } = await statfs(`/proc/self/fd/${this.#rootFd}`)
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    close(this.#rootFd)
  }

  #in<Result>(path: string, work: (directoryFd: number) => Promise<Result> | Result): Promise<Result> {
    return withDirectory({ rootFd: this.#rootFd, path }, work)
  }
}

async function syncDirectory(pathFd: number): Promise<void> {
  const fd = reopen(pathFd, O_RDONLY | O_DIRECTORY)
  try {
    await fsync(fd)
  } finally {
    close(fd)
  }
}

/** A bad sector, or a checksum of the file system that does not hold. @throws corrupt for those */
function unreadable(error: unknown): never {
  if (errorCodeOf(error) !== 'EIO') throw error
  throw new FleetError('corrupt', 'a file cannot be read from its disk', { cause: error, detail: String(error) })
}

class LocalFile implements StoreFile {
  readonly sizeBytes: number
  readonly #fd: number

  constructor(fd: number) {
    this.#fd = fd
    this.sizeBytes = fstatSync(fd).size
  }

  async *stream(offset: number, length: number, signal: AbortSignal): AsyncGenerator<Buffer, void> {
    for (let done = 0; done < length; ) {
      signal.throwIfAborted()
      const buffer = Buffer.allocUnsafeSlow(Math.min(READ_BYTES, length - done))
      const { bytesRead } = await read(this.#fd, buffer, 0, buffer.length, offset + done).catch(unreadable)
      if (bytesRead === 0) return
      done += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  }

  async close(): Promise<void> {
    close(this.#fd)
  }
}
