import { HeldBytes } from '../held-bytes.ts'
import type { Point } from '../point.ts'

/** Any bytes of an archive's tar; the frame that was read last is kept. */
export class TarBytes {
  readonly #point: Point
  readonly #signal: AbortSignal
  #kept: { readonly number: number; readonly frame: HeldBytes } | undefined

  constructor(point: Point, signal: AbortSignal) {
    this.#point = point
    this.#signal = signal
  }

  /** For headers: small. */
  async read(offset: number, bytes: number): Promise<Buffer> {
    const pieces: Buffer[] = []
    for await (const piece of this.pieces(offset, bytes)) pieces.push(Buffer.from(piece))
    return Buffer.concat(pieces)
  }

  /** Each is valid until the next is asked for. */
  async *pieces(offset: number, bytes: number): AsyncGenerator<Buffer> {
    for (let at = offset; at < offset + bytes; ) {
      const number = this.#point.frameAt(at)
      using frame = await this.#frame(number)
      const within = at - (this.#point.table.data[number]?.rawOffset ?? 0)
      const piece = frame.bytes.subarray(within, within + offset + bytes - at)
      yield piece
      at += piece.length
    }
  }

  /** For whoever disposes of it. */
  async #frame(number: number): Promise<HeldBytes> {
    if (this.#kept?.number !== number) {
      const frame = new HeldBytes(await this.#point.frame(number, this.#signal))
      this.#kept?.frame[Symbol.dispose]()
      this.#kept = { number, frame }
    }
    return this.#kept.frame.hold()
  }
}
