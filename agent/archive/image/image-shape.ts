import type { BytePath } from '../byte-path.ts'

/**
 * An image of a volume as an archive's tree: `volume.json`, and in `chunks` a file for each piece of it that is not all zeros, named by
 * its number in eight hex digits. All are of one size but the last, where the image ends within it.
 */
export const CHUNKS = 'chunks'
export const VOLUME = 'volume.json'

export const LEAST_CHUNK_BYTES = 2 ** 18
/** Of an image when its chain begins; one that grows may come to have more. */
const WANTED_CHUNKS = 2 ** 20
const NUMBER_DIGITS = 8
const CHUNK_NAME = /^chunks\/([0-9a-f]{8})$/

export interface ImageShape {
  readonly sizeBytes: number
  /** The same for all points of a chain, also when the volume has grown. */
  readonly chunkBytes: number
}

/** Of a volume's first point: 256 KiB, or so much more that there are at most 2^20. */
export function chunkBytesFor(sizeBytes: number): number {
  let bytes = LEAST_CHUNK_BYTES
  while (Math.ceil(sizeBytes / bytes) > WANTED_CHUNKS) bytes *= 2
  return bytes
}

export function chunkCount({ sizeBytes, chunkBytes }: ImageShape): number {
  return Math.ceil(sizeBytes / chunkBytes)
}

/** @param number before `chunkCount` */
export function chunkLength({ sizeBytes, chunkBytes }: ImageShape, number: number): number {
  return Math.min(chunkBytes, sizeBytes - number * chunkBytes)
}

export function chunkPath(number: number): BytePath {
  return `${CHUNKS}/${number.toString(16).padStart(NUMBER_DIGITS, '0')}`
}

/** @returns undefined for what is no chunk's */
export function chunkNumberOf(path: BytePath): number | undefined {
  const digits = CHUNK_NAME.exec(path)?.[1]
  return digits === undefined ? undefined : Number.parseInt(digits, 16)
}

/** `volume.json`: one line, without spaces, as `restore.sh` reads it. */
export function shapeText({ sizeBytes, chunkBytes }: ImageShape): string {
  return `{"version":1,"size_bytes":${sizeBytes},"chunk_bytes":${chunkBytes}}\n`
}
