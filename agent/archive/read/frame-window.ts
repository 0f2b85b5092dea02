import { FleetError } from '../../../shared/errors.ts'
import { release } from '../../native/release.ts'
import type { ByteReader } from './byte-reader.ts'

export interface TarFrame {
  readonly layer: number
  readonly rawOffset: number
  /** Absent when it could not be read; then every member with bytes in it is damaged. */
  readonly bytes: Buffer | undefined
}

/** The part of one archive that lies ready, and the way to the next. */
export class FrameWindow implements ByteReader {
  readonly #next: () => TarFrame
  #frame: TarFrame | undefined
  #at = 0

  /** @param next the frame behind the current one; waits for it */
  constructor(next: () => TarFrame) {
    this.#next = next
  }

  get offset(): number {
    return (this.#frame?.rawOffset ?? 0) + this.#at
  }

  /** The current frame's memory is given back. */
  replace(frame: TarFrame): void {
    release(this.#frame?.bytes)
    this.#frame = frame
    this.#at = 0
  }

  /** @param rawOffset lies in the current frame */
  seek(rawOffset: number): void {
    const at = rawOffset - (this.#frame?.rawOffset ?? 0)
    if (this.#frame?.bytes === undefined) throw new FleetError('corrupt', 'the frame that holds it is damaged')
    if (at < 0 || at > this.#frame.bytes.length)
      throw new FleetError('corrupt', 'the index names a place that is not there')
    this.#at = at
  }

  more(): boolean {
    return true
  }

  some(limit: number): Buffer {
    if (this.#frame?.bytes !== undefined && this.#at === this.#frame.bytes.length) this.replace(this.#next())
    if (this.#frame?.bytes === undefined) throw new FleetError('corrupt', 'a frame that holds it is damaged')
    const part = this.#frame.bytes.subarray(this.#at, this.#at + limit)
    this.#at += part.length
    return part
  }
}
