import { createHash, type Hash, hash } from 'node:crypto'
import type { Counters } from '../../tree/counters.ts'
import type { ProblemReason } from '../member.ts'
import type { FrameFiller } from './frame-filler.ts'
import type { Extent } from './hole-map.ts'
import type { LivingFile } from './living-file.ts'
import { readFully } from './read-file.ts'

/** One read; small enough that its bytes are still in the processor's cache when they are hashed. */
const READ_BYTES = 2 ** 18
/** One of what lives, which costs a look at where it lies. */
const LIVING_BYTES = 2 ** 20

export interface Content {
  readonly fd: number
  readonly extents: readonly Extent[]
  /** Stored before the data, for a file with holes. */
  readonly map: Buffer | undefined
  /** Where the same may be read with less effort. */
  readonly living?: LivingFile | undefined
}

export interface CopiedContent {
  /** Of what was stored, zeros for missing bytes included; undefined for nothing. */
  readonly hash: string | undefined
  readonly problem: ProblemReason | undefined
}

/**
 * Stores exactly as many bytes as the header announced: what a file lacks meanwhile, or what cannot be read, is zeros and
 * told as a problem; what it has more is left. So the stream is never torn by what happens to one file.
 */
export function copyContent(
  content: Content,
  to: { readonly frames: FrameFiller; readonly counters: Counters },
): CopiedContent {
  const [only] = content.extents
  const { frames } = to
  if (content.map === undefined && only !== undefined && only.size > 0) {
    const room = only.size <= READ_BYTES ? frames.room(only.size) : undefined
    if (room?.length === only.size) return copySmall(content.fd, room, to)
  }
  return new ContentCopy(content, to).run()
}

/** The usual case in one read and one hash, without a hash object. */
function copySmall(
  fd: number,
  room: Buffer,
  { frames, counters }: { readonly frames: FrameFiller; readonly counters: Counters },
) {
  const { read, problem } = readFully(fd, room, 0)
  if (read < room.length) room.fill(0, read)
  const digest = hash('sha256', room)
  frames.advance(room.length)
  counters.addBytes(room.length)
  return { hash: digest, problem }
}

class ContentCopy {
  readonly #content: Content
  readonly #frames: FrameFiller
  readonly #counters: Counters
  readonly #hash: Hash = createHash('sha256')
  #problem: ProblemReason | undefined

  constructor(content: Content, { frames, counters }: { readonly frames: FrameFiller; readonly counters: Counters }) {
    this.#content = content
    this.#frames = frames
    this.#counters = counters
  }

  run(): CopiedContent {
    if (this.#content.map !== undefined) {
      this.#frames.put(this.#content.map)
      this.#hash.update(this.#content.map)
    }
    for (const { offset, size } of this.#content.extents) this.#copyExtent(offset, offset + size)
    return { hash: this.#hash.digest('hex'), problem: this.#problem }
  }

  #copyExtent(start: number, end: number): void {
    for (let at = start; at < end; ) {
      this.#counters.throwIfStopped()
      const { living } = this.#content
      const room = this.#frames.room(Math.min(end - at, living?.isSame === true ? LIVING_BYTES : READ_BYTES))
      if (living?.read(room, at) !== true) this.#read(room, at)
      this.#hash.update(room)
      this.#frames.advance(room.length)
      this.#counters.addBytes(room.length)
      at += room.length
    }
  }

  #read(room: Buffer, at: number): void {
    const { read, problem } =
      this.#problem === undefined ? readFully(this.#content.fd, room, at) : { read: 0, problem: undefined }
    this.#problem ??= problem
    if (read < room.length) room.fill(0, read)
  }
}
