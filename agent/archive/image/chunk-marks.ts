import { MAX_CHANGED, withEnds } from './changed-chunks.ts'
import { chunkCount, type ImageShape } from './image-shape.ts'

const FREED = 1
const WRITTEN = 2

/** Which chunks of an image may differ from those of a point, as ranges of bytes are told of in any sequence, each as often as anybody likes. */
export class ChunkMarks {
  readonly #shape: ImageShape
  readonly #marks: Uint8Array

  private constructor(shape: ImageShape) {
    this.#shape = shape
    this.#marks = new Uint8Array(chunkCount(shape))
  }

  /** @returns undefined for more chunks than are worth the memory: one byte each */
  static of(shape: ImageShape): ChunkMarks | undefined {
    return chunkCount(shape) > MAX_CHANGED ? undefined : new ChunkMarks(shape)
  }

  /** @param range what lies behind the image's end is nothing; `isWritten`: else it is zeros now */
  mark({
    offset,
    bytes,
    isWritten,
  }: {
    readonly offset: number
    readonly bytes: number
    readonly isWritten: boolean
  }): void {
    const { sizeBytes, chunkBytes } = this.#shape
    const end = Math.min(offset + bytes, sizeBytes)
    if (end <= offset) return
    const [first, last] = [Math.floor(offset / chunkBytes), Math.floor((end - 1) / chunkBytes)]
    if (isWritten) this.#marks.fill(WRITTEN, first, last + 1)
    else for (let at = first; at <= last; at += 1) this.#marks[at] ||= FREED
  }

  /**
   * A chunk of which parts became zeros and nothing was written is what it was where that was zeros, so where the point below has none.
   * @param held numbers of that point's chunks, in order; read only where it matters
   * @returns in order; undefined where the image became smaller
   */
  async changed({
    sizeBytes,
    held,
  }: {
    readonly sizeBytes: number
    held(): AsyncIterable<number>
  }): Promise<Uint32Array | undefined> {
    if (sizeBytes > this.#shape.sizeBytes) return undefined
    const marks = this.#marks
    const numbers: number[] = []
    const isFreed = marks.includes(FREED)
    for await (const number of isFreed ? held() : none()) if (marks[number] === FREED) marks[number] = WRITTEN
    for (let at = marks.indexOf(WRITTEN); at >= 0; at = marks.indexOf(WRITTEN, at + 1)) numbers.push(at)
    const ends = sizeBytes === this.#shape.sizeBytes ? [] : [sizeBytes, this.#shape.sizeBytes]
    return withEnds(numbers, ends, this.#shape.chunkBytes)
  }
}

async function* none(): AsyncGenerator<number> {}
