import { FleetError } from '../../shared/errors.ts'
import { SUMS } from '../archive/frame-table.ts'
import type { ArchiveSink, SinkFile, StoredFile } from '../archive/sink.ts'
import type { Sink, Target } from '../transfer/transfer.ts'

const MAX_SUMS_BYTES = 65_536

/**
 * A point on its way to a target, file by file into one directory. `sums` is stored last, and not here where directories cannot be
 * renamed: a directory without it is no point. Publishing is a step of its own, so `commit` does nothing, and `abort` takes away
 * only the file that is under way: the directory is its maker's.
 */
export class TargetSink implements ArchiveSink {
  readonly #target: Target
  readonly #directory: string
  readonly #told: (bytes: number) => void
  #under: Sink | undefined
  #made = false
  #sums: Buffer | undefined

  /** @param place.told is called with the size of each chunk as it is stored */
  constructor(place: {
    readonly target: Target
    readonly directory: string
    readonly told?: (bytes: number) => void
  }) {
    this.#target = place.target
    this.#directory = place.directory
    this.#told = place.told ?? (() => undefined)
  }

  /** What `sums` holds, once everything is stored. */
  get sums(): string {
    if (this.#sums === undefined) throw new FleetError('internal', 'the point is not whole yet')
    return this.#sums.toString()
  }

  async open(name: string, signal: AbortSignal): Promise<SinkFile> {
    if (!this.#made) await this.#target.mkdir(this.#directory, { signal })
    this.#made = true
    return name === SUMS ? this.#sumsFile(signal) : this.#file(name, signal)
  }

  async commit(): Promise<void> {}

  async abort(): Promise<void> {
    const under = this.#under
    this.#under = undefined
    await under?.abort()
  }

  async #file(name: string, signal: AbortSignal): Promise<SinkFile> {
    const sink = await this.#target.put(`${this.#directory}/${name}`, { signal })
    this.#under = sink
    let stored: StoredFile | undefined
    return {
      write: async (chunk) => {
        await sink.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length))
        this.#told(chunk.length)
      },
      close: async () => {
        const { sizeBytes, sha256 } = await sink.finish()
        this.#under = undefined
        stored = { name, bytes: sizeBytes, sha256 }
      },
      stored: () => {
        if (stored === undefined) throw new FleetError('internal', 'the file is not closed yet')
        return stored
      },
    }
  }

  async #sumsFile(signal: AbortSignal): Promise<SinkFile> {
    const pieces: Buffer[] = []
    return {
      write: async (chunk) => void pieces.push(Buffer.from(chunk)),
      close: async () => {
        this.#sums = Buffer.concat(pieces)
        if (this.#sums.length > MAX_SUMS_BYTES) throw new FleetError('internal', 'a point has few files')
        if (this.#target.features.renameDirectory) await putSums(this.#target, this.#directory, this.sums, signal)
      },
    }
  }
}

/** From here on the directory holds a point. */
export function putSums(target: Target, directory: string, sums: string, signal: AbortSignal): Promise<void> {
  return putSmall(target, `${directory}/${SUMS}`, sums, signal)
}

/** A file of a few bytes, whole or not at all, in the place of one of its name. */
export async function putSmall(target: Target, path: string, text: string, signal: AbortSignal): Promise<void> {
  const sink = await target.put(path, { signal, replace: true })
  try {
    await sink.write(Buffer.from(text))
    await sink.finish()
  } finally {
    await sink.abort()
  }
}
