import { createHash, randomUUID } from 'node:crypto'
import { closeSync, constants, openSync, read, unlinkSync, write } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { release } from '../../native/release.ts'
import type { SinkFile } from '../sink.ts'

const COPY_BYTES = 2 ** 20
const readAsync = promisify(read)
const writeAsync = promisify(write)

/** An open file that has no name any more: whatever ends this process, nothing is left of it. */
export function openUnlinked(directory: string): number {
  const path = join(directory, `.spool-${randomUUID()}`)
  const { O_RDWR, O_CREAT, O_EXCL } = constants
  const fd = openSync(path, O_RDWR | O_CREAT | O_EXCL, 0o600)
  unlinkSync(path)
  return fd
}

/** What is written beside the data and stored behind it: the index is a hundredth of what it describes. */
export class Spool {
  readonly #fd: number
  readonly #hash = createHash('sha256')
  #bytes = 0

  constructor(directory: string) {
    this.#fd = openUnlinked(directory)
  }

  get bytes(): number {
    return this.#bytes
  }

  async append(chunk: Uint8Array): Promise<void> {
    this.#hash.update(chunk)
    const start = this.#bytes
    this.#bytes += chunk.length
    for (let done = 0; done < chunk.length; ) {
      done += (await writeAsync(this.#fd, chunk, done, chunk.length - done, start + done)).bytesWritten
    }
  }

  /** @returns its SHA-256 in hex */
  async copyTo(file: SinkFile): Promise<string> {
    const piece = Buffer.allocUnsafeSlow(Math.min(COPY_BYTES, this.#bytes))
    for (let at = 0; at < this.#bytes; ) {
      const { bytesRead } = await readAsync(this.#fd, piece, 0, Math.min(piece.length, this.#bytes - at), at)
      await file.write(piece.subarray(0, bytesRead))
      at += bytesRead
    }
    release(piece)
    await file.close()
    return this.#hash.digest('hex')
  }

  close(): void {
    closeSync(this.#fd)
  }
}
