import { closeSync, constants, fstatSync, ftruncateSync, openSync, read, rmSync, write } from 'node:fs'
import { promisify } from 'node:util'
import { HEADER_BYTES } from '../../tree/listing-file.ts'

const CHUNK_BYTES = 2 ** 18
const PRIVATE_MODE = 0o600
const { O_CREAT, O_EXCL, O_RDWR, O_APPEND } = constants
const readAt = promisify(read)
const writeAll = promisify(write)

/** What one process lists, in a file. The first part becomes the listing: it begins with room for its header. */
export class ListingPart {
  /** At its end, for the process. */
  readonly fd: number
  readonly #path: string
  readonly #isFirst: boolean

  constructor(path: string, part: number) {
    this.#isFirst = part === 0
    this.#path = this.#isFirst ? path : `${path}.${part}`
    // Never over what is there: another name of an older listing, perhaps.
    rmSync(this.#path, { force: true })
    this.fd = openSync(this.#path, O_RDWR | O_CREAT | O_EXCL | O_APPEND, PRIVATE_MODE)
    if (this.#isFirst) ftruncateSync(this.fd, HEADER_BYTES)
  }

  get bytes(): number {
    return fstatSync(this.fd).size
  }

  /** Of what the process wrote, in order; each is free again when the next is asked for. */
  async *chunks(): AsyncGenerator<Buffer> {
    const memory = Buffer.allocUnsafeSlow(CHUNK_BYTES)
    for (let at = this.#isFirst ? HEADER_BYTES : 0; ; ) {
      const { bytesRead } = await readAt(this.fd, memory, 0, CHUNK_BYTES, at)
      if (bytesRead === 0) return
      yield memory.subarray(0, bytesRead)
      at += bytesRead
    }
  }

  async append(other: ListingPart): Promise<void> {
    for await (const chunk of other.chunks())
      for (let done = 0; done < chunk.length; )
        done += (await writeAll(this.fd, chunk, done, chunk.length - done, null)).bytesWritten
  }

  /** All but the first go. */
  discard(): void {
    closeSync(this.fd)
    if (!this.#isFirst) rmSync(this.#path, { force: true })
  }
}
