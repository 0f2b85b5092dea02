import { execFileSync } from 'node:child_process'
import { closeSync, fstatSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { changedChunks } from '../../agent/archive/image/changed-chunks.ts'
import { chunkBytesFor } from '../../agent/archive/image/image-shape.ts'
import { readShape } from '../../agent/archive/image/read-shape.ts'
import { restoreImage } from '../../agent/archive/image/restore-image.ts'
import { LocalSink } from '../../agent/archive/local-sink.ts'
import { type ArchiveWatch, type WrittenArchive, writeArchive } from '../../agent/archive/write-archive.ts'
import { calm, closeChain, openChain } from './archive.ts'

export interface ImageChange {
  readonly act: 'write' | 'zeros' | 'punch' | 'reserve' | 'grow'
  readonly offset: number
  readonly bytes: number
}

/** Changes an image by other tools than ours. What it writes differs with `salt`. */
export function changeImage(path: string, { act, offset, bytes }: ImageChange, salt: number): void {
  if (act === 'punch') execFileSync('/usr/bin/fallocate', ['-p', '-o', String(offset), '-l', String(bytes), path])
  else if (act === 'reserve') execFileSync('/usr/bin/fallocate', ['-o', String(offset), '-l', String(bytes), path])
  else {
    const fd = openSync(path, 'r+')
    try {
      if (act === 'grow') ftruncateSync(fd, fstatSync(fd).size + bytes)
      else writeSync(fd, Buffer.alloc(bytes, act === 'zeros' ? '\0' : `${salt} `), 0, bytes, offset)
    } finally {
      closeSync(fd)
    }
  }
}

/** As pools take their snapshots of volumes: sharing all blocks. */
export function cloneImage(from: string, to: string): void {
  execFileSync('/bin/cp', ['--reflink=always', '--sparse=auto', from, to])
}

export interface ImagePoint {
  readonly image: string
  readonly points: string
  readonly name: string
  /** Names of the points below. */
  readonly bases?: readonly string[]
  /** The image of the last of them: only what differs in its extents is looked at. */
  readonly baseImage?: string
  readonly chunkBytes?: number
}

/** Writes a point of an image into `<points>/<name>`. @returns with the chunks that were looked at */
export async function writeImagePoint(
  point: ImagePoint,
  watch: ArchiveWatch = calm,
): Promise<WrittenArchive & { readonly only: Uint32Array | undefined }> {
  const { points, name, bases = [], baseImage } = point
  const chain = bases.length === 0 ? undefined : await openChain(points, bases)
  const fds = [openSync(point.image, 'r')]
  const fd = fds[0] ?? -1
  try {
    const sizeBytes = fstatSync(fd).size
    const known = chain && (await readShape(chain, watch.signal)).chunkBytes
    const chunkBytes = known ?? point.chunkBytes ?? chunkBytesFor(sizeBytes)
    if (baseImage !== undefined) fds.push(openSync(baseImage, 'r'))
    const only = fds[1] === undefined ? undefined : await changedChunks({ baseFd: fds[1], fd, chunkBytes })
    const written = await writeArchive(
      {
        ...{ subject: 'backup', compression: 'zstd', scratch: points, frameBytes: 2 ** 20 },
        ...{ sink: new LocalSink(points, name), image: { fd, sizeBytes, chunkBytes, only } },
        ...(chain && { base: { points: bases, chain } }),
      },
      watch,
    )
    return { ...written, only }
  } finally {
    for (const each of fds) closeSync(each)
    if (chain !== undefined) await closeChain(chain)
  }
}

/** Restores the last of the points into a file, which is made anew. @returns its path */
export async function restoreTo(
  path: string,
  from: { readonly points: string; readonly names: readonly string[]; readonly sizeBytes?: number },
  watch: ArchiveWatch = calm,
): Promise<string> {
  const { points, names, sizeBytes } = from
  const chain = await openChain(points, names)
  const fd = openSync(path, 'w+')
  try {
    const size = sizeBytes === undefined ? {} : { sizeBytes }
    await restoreImage({ subject: 'restore', chain, fd, scratch: points, ...size }, watch)
  } finally {
    closeSync(fd)
    await closeChain(chain)
  }
  return path
}

export function isSameFile(a: string, b: string): boolean {
  try {
    execFileSync('/usr/bin/cmp', ['--silent', a, b])
    return true
  } catch {
    return false
  }
}

/** Six chunks of 256 KiB, of which 0, 2 and 4 hold something. @returns its path */
export function makeImage(directory: string): string {
  const [path, chunkBytes] = [join(directory, 'image'), 2 ** 18]
  const fd = openSync(path, 'w')
  ftruncateSync(fd, 6 * chunkBytes)
  for (const number of [0, 2, 4])
    writeSync(fd, Buffer.alloc(chunkBytes, `chunk ${number} `), 0, chunkBytes, number * chunkBytes)
  closeSync(fd)
  return path
}
