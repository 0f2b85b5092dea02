import { FleetError } from '../../../shared/errors.ts'
import { release } from '../../native/release.ts'
import type { ByteReader } from './byte-reader.ts'

/** A tar that comes in pieces and says nothing of its length. */
export class StreamReader implements ByteReader {
  readonly #next: () => Buffer | undefined
  #piece: Buffer = Buffer.alloc(0)
  #at = 0
  #start = 0
  #ended = false

  constructor(next: () => Buffer | undefined) {
    this.#next = next
  }

  get offset(): number {
    return this.#start + this.#at
  }

  more(): boolean {
    while (!this.#ended && this.#at === this.#piece.length) {
      const piece = this.#next()
      if (piece === undefined) {
        this.#ended = true
        break
      }
      this.#start += this.#piece.length
      release(this.#piece)
      this.#piece = piece
      this.#at = 0
    }
    return !this.#ended
  }

  some(limit: number): Buffer {
    if (!this.more()) throw new FleetError('corrupt', 'the archive is torn')
    const part = this.#piece.subarray(this.#at, this.#at + limit)
    this.#at += part.length
    return part
  }

  /** What is behind the end of the archive is read and forgotten, so that its sender can finish. */
  drain(): void {
    while (this.more()) this.#at = this.#piece.length
  }
}
