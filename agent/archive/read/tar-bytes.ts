import { HeldBytes } from '../held-bytes.ts'
import type { Point } from '../point.ts'

/** Of a chain's archives: each has 4 MiB. What is being read is kept by its reader. */
const MAX_KEPT = 4

/** The frames that were read last of some archives that are read together. */
class KeptFrames implements Disposable {
  readonly #frames = new Map<TarBytes, { readonly number: number; readonly frame: HeldBytes }>()

  find(archive: TarBytes, number: number): HeldBytes | undefined {
    const kept = this.#frames.get(archive)
    return kept?.number === number ? kept.frame : undefined
  }

  /** The one that was kept last stands last. @param frame is let go when others take its place */
  keep(archive: TarBytes, number: number, frame: HeldBytes): void {
    this.#drop(archive)
    this.#frames.set(archive, { number, frame })
    for (const oldest of this.#frames.keys()) {
      if (this.#frames.size <= MAX_KEPT) return
      this.#drop(oldest)
    }
  }

  [Symbol.dispose](): void {
    for (const archive of this.#frames.keys()) this.#drop(archive)
  }

  #drop(archive: TarBytes): void {
    this.#frames.get(archive)?.frame[Symbol.dispose]()
    this.#frames.delete(archive)
  }
}

/** What lets go of the frames that it keeps. */
export interface ChainTars extends Disposable {
  /** One for each archive of the chain. */
  readonly all: readonly TarBytes[]
}

export function tarsOf(points: readonly Point[], signal: AbortSignal): ChainTars {
  const kept = new KeptFrames()
  return {
    all: points.map((point) => new TarBytes(point, signal, kept)),
    [Symbol.dispose]: () => kept[Symbol.dispose](),
  }
}

/** Any bytes of an archive's tar; the frame that was read last is kept. */
export class TarBytes {
  readonly #point: Point
  readonly #signal: AbortSignal
  readonly #kept: KeptFrames

  constructor(point: Point, signal: AbortSignal, kept = new KeptFrames()) {
    this.#point = point
    this.#signal = signal
    this.#kept = kept
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
    const kept = this.#kept.find(this, number)
    if (kept !== undefined) return kept.hold()
    const frame = new HeldBytes(await this.#point.frame(number, this.#signal))
    this.#kept.keep(this, number, frame.hold())
    return frame
  }
}
