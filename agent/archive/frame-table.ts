import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { type BytePath, fromJson, jsonField } from './byte-path.ts'
import type { Compression } from './compression.ts'
import type { ImageShape } from './image/image-shape.ts'
import { parseJson } from './member.ts'

/** Where a frame lies in its file and in what it decompresses to. */
export interface Frame {
  readonly offset: number
  readonly bytes: number
  readonly rawOffset: number
  readonly rawBytes: number
  /** SHA-256 of the stored bytes, hex. */
  readonly hash: string
}

export interface IndexFrame extends Frame {
  readonly firstPath: BytePath
}

/** The last line of the table; without it the table is torn. */
export interface PointTotals {
  /** 2 where files are stored in part, which who knows only 1 would take for files with holes. */
  readonly version: 1 | 2
  readonly compression: Compression
  readonly members: number
  readonly rawBytes: number
  readonly storedBytes: number
  /** Of the content of files. */
  readonly contentBytes: number
  /** What could not be read, or not as one state. While there is any, the next increment looks at the whole tree. */
  readonly problems: number
  /** The points, oldest first, that this one's members complete; empty for a full one. */
  readonly bases: readonly string[]
  /** Its tree is the image of a volume, of this shape: known where only indexes can be read. */
  readonly image?: ImageShape | undefined
}

export const DATA = { zstd: 'data.tar.zst', none: 'data.tar' } as const
export const INDEX = 'index.ndjson.zst'
export const FRAMES = 'frames.ndjson.zst'
export const GONE = 'gone.tar.zst'
export const LINKS = 'links.tar.zst'
export const PATCHES = 'patches.tar.zst'
export const SUMS = 'sums'
export const RESTORE = 'restore.sh'

export function frameLine({ offset, bytes, rawOffset, rawBytes, hash }: Frame): string {
  return `{"data":[${offset},${bytes},${rawOffset},${rawBytes}],"h":"${hash}"}\n`
}

export function indexFrameLine({ offset, bytes, rawOffset, rawBytes, hash, firstPath }: IndexFrame): string {
  return `{"index":[${offset},${bytes},${rawOffset},${rawBytes}],"h":"${hash}",${jsonField('p', firstPath)}}\n`
}

export function totalsLine(totals: PointTotals): string {
  return `${JSON.stringify({ end: totals })}\n`
}

const count = z.number().int().nonnegative()
const place = z.tuple([count, count, count, count])
const hash = z.string().regex(/^[0-9a-f]{64}$/)
const Line = z.union([
  z.object({ data: place, h: hash }),
  z.object({ index: place, h: hash, p: z.string().optional(), pB64: z.string().optional() }),
  z.object({
    end: z.object({
      version: z.union([z.literal(1), z.literal(2)]),
      compression: z.enum(['zstd', 'none']),
      members: count,
      rawBytes: count,
      storedBytes: count,
      contentBytes: count,
      problems: count,
      bases: z.array(z.string()),
      image: z.object({ sizeBytes: count, chunkBytes: count }).optional(),
    }),
  }),
])

export interface FrameTable {
  readonly data: readonly Frame[]
  readonly index: readonly IndexFrame[]
  readonly totals: PointTotals
}

/** @throws corrupt: a line that is none, frames that do not follow each other, or no end */
export function parseFrameTable(text: string): FrameTable {
  const data: Frame[] = []
  const index: IndexFrame[] = []
  let totals: PointTotals | undefined
  for (const line of text.split('\n')) {
    if (line === '') continue
    const parsed = Line.safeParse(parseJson(line))
    if (!parsed.success || totals !== undefined) throw new FleetError('corrupt', 'the table of frames cannot be read')
    if ('end' in parsed.data) totals = parsed.data.end
    else if ('data' in parsed.data) append(data, frameOf(parsed.data.data, parsed.data.h))
    else {
      const firstPath = fromJson(parsed.data.p, parsed.data.pB64) ?? ''
      append(index, { ...frameOf(parsed.data.index, parsed.data.h), firstPath })
    }
  }
  if (totals === undefined) throw new FleetError('corrupt', 'the table of frames is torn')
  return { data, index, totals }
}

function frameOf([offset, bytes, rawOffset, rawBytes]: z.infer<typeof place>, hash: string): Frame {
  return { offset, bytes, rawOffset, rawBytes, hash }
}

/** No frame may be larger than this, whatever a table says: it is read into memory whole. */
export const MAX_FRAME_BYTES = 2 ** 26

function append<F extends Frame>(frames: F[], frame: F): void {
  const last = frames.at(-1)
  const follows =
    frame.offset === (last === undefined ? 0 : last.offset + last.bytes) &&
    frame.rawOffset === (last === undefined ? 0 : last.rawOffset + last.rawBytes)
  if (!follows || frame.rawBytes > MAX_FRAME_BYTES || frame.bytes > 2 * MAX_FRAME_BYTES)
    throw new FleetError('corrupt', 'the table of frames cannot be read')
  frames.push(frame)
}

/** @returns the index of the frame that holds this raw offset. @throws corrupt beyond the last */
export function frameAt(frames: readonly Frame[], rawOffset: number): number {
  let low = 0
  let high = frames.length - 1
  while (low <= high) {
    const middle = (low + high) >> 1
    const frame = frames[middle]
    if (frame === undefined) break
    if (rawOffset < frame.rawOffset) high = middle - 1
    else if (rawOffset >= frame.rawOffset + frame.rawBytes) low = middle + 1
    else return middle
  }
  throw new FleetError('corrupt', 'the index names a place beyond the archive')
}
