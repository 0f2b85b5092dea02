import { FleetError } from '../../shared/errors.ts'
import type { PointFiles, RangeSource } from '../archive/range-source.ts'
import { MAX_READ_BYTES, type Target } from '../transfer/transfer.ts'

/** The files of a point that lies on a target. */
export class TargetFiles implements PointFiles {
  readonly #target: Target
  readonly #directory: string

  /** @param directory of the point, on the target */
  constructor(target: Target, directory: string) {
    this.#target = target
    this.#directory = directory
  }

  async open(name: string, signal: AbortSignal): Promise<RangeSource> {
    const source = await this.#target.get(`${this.#directory}/${name}`, { signal })
    return {
      size: source.sizeBytes,
      async read(offset, length, signal) {
        if (offset + length > source.sizeBytes) throw shorter()
        if (length <= MAX_READ_BYTES) return whole(await source.read(offset, length, signal), length)
        const pieces: Buffer[] = []
        for await (const piece of source.stream(offset, length, signal)) pieces.push(piece)
        return whole(Buffer.concat(pieces), length)
      },
      [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
    }
  }
}

function whole(bytes: Buffer, length: number): Buffer {
  if (bytes.length !== length) throw shorter()
  return bytes
}

function shorter(): FleetError {
  return new FleetError('corrupt', 'a file of the point is shorter than was recorded')
}
