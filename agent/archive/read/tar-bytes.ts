import type { Point } from '../point.ts'

/** Any bytes of an archive's tar; the frame that was read last is kept. */
export class TarBytes {
  readonly #point: Point
  readonly #signal: AbortSignal
  #number = -1
  #frame: Buffer = Buffer.alloc(0)

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

  async *pieces(offset: number, bytes: number): AsyncGenerator<Buffer> {
    for (let at = offset; at < offset + bytes; ) {
      const number = this.#point.frameAt(at)
      if (number !== this.#number) {
        this.#frame = await this.#point.frame(number, this.#signal)
        this.#number = number
      }
      const within = at - (this.#point.table.data[number]?.rawOffset ?? 0)
      const piece = this.#frame.subarray(within, within + offset + bytes - at)
      yield piece
      at += piece.length
    }
  }
}
