import { createHash } from 'node:crypto'
import { FleetError } from '../../../shared/errors.ts'
import { displayPath } from '../byte-path.ts'
import type { Chain, ChainMember } from '../chain.ts'
import type { Member } from '../member.ts'
import type { Extent, HoleMap } from './pax-fields.ts'
import { readStoredMap } from './stored-map.ts'
import type { TarBytes } from './tar-bytes.ts'

/** A run of a file and the member of its stack that has it; what no run covers is zeros. */
export interface Run extends Extent {
  readonly from: number
}

/** A file of which a chain holds one member whole and patches over it. */
export class ComposedContent {
  readonly #parts: readonly Part[]
  /** In order, without overlaps. */
  readonly runs: readonly Run[]
  readonly sizeBytes: number

  private constructor(parts: readonly Part[], sizeBytes: number) {
    this.#parts = parts
    this.sizeBytes = sizeBytes
    this.runs = overlaid(parts.map(({ map, member }) => ({ extents: map.extents, size: member.size })))
  }

  /** @param sources by archive of the chain @throws corrupt */
  static async open(
    chain: Chain,
    found: ChainMember,
    sources: readonly TarBytes[],
    signal: AbortSignal,
  ): Promise<ComposedContent> {
    const parts: Part[] = []
    for (const { member, layer } of await chain.stack(found, signal)) {
      const source = sources[layer]
      if (source === undefined) throw new FleetError('internal', 'no such point in the chain')
      parts.push(await openPart(member, source))
    }
    return new ComposedContent(parts, found.member.size)
  }

  /** The bytes of all runs in order; each is valid until the next. What each member holds is compared with its hash. @throws corrupt */
  async *pieces(): AsyncGenerator<{ readonly offset: number; readonly bytes: Buffer }> {
    const readers = this.#parts.map((part) => new PartReader(part))
    for (const { offset, size, from } of this.runs) {
      const reader = readers[from]
      if (reader !== undefined) yield* reader.run(offset, size)
    }
    for (const reader of readers) await reader.finish()
  }
}

interface Part {
  readonly member: Member
  readonly source: TarBytes
  readonly map: HoleMap
}

async function openPart(member: Member, source: TarBytes): Promise<Part> {
  const whole = { bytes: Buffer.alloc(0), extents: [{ offset: 0, size: member.size }] }
  return { member, source, map: member.holes ? await readStoredMap(member, source) : whole }
}

/** Reads the content of one member in order, all of it, and hands out runs of it. */
class PartReader {
  readonly #member: Member
  readonly #extents: readonly Extent[]
  readonly #pieces: AsyncGenerator<Buffer>
  readonly #hash = createHash('sha256')
  #piece: Buffer = Buffer.alloc(0)
  #extent = 0
  #within = 0

  constructor({ member, source, map }: Part) {
    this.#member = member
    this.#extents = map.extents
    const { length } = map.bytes
    this.#pieces = source.pieces(member.dataOffset + length, member.storedSize - length)
    this.#hash.update(map.bytes)
  }

  /** @param offset lies in one of its extents, with all of the run */
  async *run(offset: number, size: number): AsyncGenerator<{ readonly offset: number; readonly bytes: Buffer }> {
    while (this.#place < offset) await this.#some(offset - this.#place)
    for (const end = offset + size; this.#place < end; ) {
      const at = this.#place
      yield { offset: at, bytes: await this.#some(end - at) }
    }
  }

  /** @throws corrupt */
  async finish(): Promise<void> {
    while (this.#place < Number.POSITIVE_INFINITY) await this.#some(Number.POSITIVE_INFINITY)
    if (this.#hash.digest('hex') !== this.#member.hash)
      throw new FleetError(
        'corrupt',
        `member '${displayPath(this.#member.path)}': its content does not match its recorded hash`,
      )
  }

  /** Where in the file the next byte belongs. */
  get #place(): number {
    while (this.#within === this.#extents[this.#extent]?.size) {
      this.#extent += 1
      this.#within = 0
    }
    const extent = this.#extents[this.#extent]
    return extent === undefined ? Number.POSITIVE_INFINITY : extent.offset + this.#within
  }

  async #some(limit: number): Promise<Buffer> {
    if (this.#piece.length === 0) this.#piece = (await this.#pieces.next()).value ?? this.#piece
    const left = (this.#extents[this.#extent]?.size ?? 0) - this.#within
    const bytes = this.#piece.subarray(0, Math.min(limit, left))
    if (bytes.length === 0)
      throw new FleetError('corrupt', `member '${displayPath(this.#member.path)}': the archive is shorter than its map`)
    this.#piece = this.#piece.subarray(bytes.length)
    this.#hash.update(bytes)
    this.#within += bytes.length
    return bytes
  }
}

/** What is to be seen of layers of extents, the oldest first; each cuts what is below to its own size. */
export function overlaid(
  layers: readonly { readonly extents: readonly Extent[]; readonly size: number }[],
): readonly Run[] {
  let runs: readonly Run[] = []
  for (const [from, { extents, size }] of layers.entries()) {
    const above = extents.filter((extent) => extent.size > 0).map((extent) => ({ ...extent, from }))
    runs = [...uncovered(runs, above, size), ...above].sort((a, b) => a.offset - b.offset)
  }
  return runs
}

function* uncovered(below: readonly Run[], above: readonly Extent[], limit: number): Generator<Run> {
  let next = 0
  for (const { offset, size, from } of below) {
    const end = Math.min(offset + size, limit)
    for (let at = offset; at < end; ) {
      for (let cover = above[next]; cover !== undefined && cover.offset + cover.size <= at; cover = above[next])
        next += 1
      const cover = above[next]
      const until = Math.min(cover?.offset ?? end, end)
      if (until > at) yield { offset: at, size: until - at, from }
      at = Math.max(until, Math.min((cover?.offset ?? end) + (cover?.size ?? 0), end))
    }
  }
}
