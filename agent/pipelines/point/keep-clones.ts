import { randomUUID } from 'node:crypto'
import { fsync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { promisify } from 'node:util'
import type { LargeFiles } from '../../archive/large-file.ts'
import type { DatasetInfo } from '../../drivers/driver.ts'
import { syncFileSystem } from '../../native/file-system.ts'
import { cString } from '../../native/libc.ts'
import { close, RENAME_EXCHANGE, rename } from '../../native/paths.ts'
import { placeClones, pruneClones, takeClones } from '../../points/large-clones.ts'
import type { PipelineTools } from '../pipeline.ts'
import { dropBaseOf, dropOlderBases, dropSuperseded, keepBase, type Snapshotted } from './base-snapshots.ts'
import { openRoot } from './restore-new.ts'

const flush = promisify(fsync)
const unwatched = { signal: new AbortController().signal, progress: () => undefined }

/** What was written into a point that stands. */
export interface Written {
  /** Undefined where that is not known. */
  readonly large: LargeFiles | undefined
  /** It completes the points below it: what is not in it is as it was. */
  readonly completes: boolean
}

interface Keeping extends Snapshotted {
  readonly jobId: string
  readonly written: Written
  /** The point below. */
  readonly olderId: string | undefined
  /** Whether there is an image, named by the point, that it was read in. */
  readonly hasImage: boolean
}

/**
 * Keeps clones of a point's large files for the next one, in a dataset named by the point, and nothing of an older point. It is the `base` once all in it is
 * on the disk; until then whatever is made is the job's. Its image, and what else is the job's then, is for the caller to destroy.
 */
export async function keepClones(tools: PipelineTools, keeping: Keeping): Promise<void> {
  let isKept = false
  try {
    isKept = await isGathered(tools, keeping)
  } finally {
    if (!isKept) await dropOlderBases(tools, keeping)
  }
}

/** @returns false where there is nothing to keep */
async function isGathered(tools: PipelineTools, keeping: Keeping): Promise<boolean> {
  const { pool, source, pointId, jobId, hasImage, written, olderId } = keeping
  const { large, completes } = written
  const { own } = tools.points
  const takes = completes && large?.isAll === true && olderId !== undefined && own.has(olderId, 'base')
  if (large === undefined || (large.files.length === 0 && !takes)) return false
  const driver = tools.driver(pool)
  const [older, image] = [takes && (await driver.find(olderId)), hasImage && (await driver.find(pointId))]
  const living = await driver.find(source)
  if (living === undefined) return false
  const dataset = hasImage ? randomUUID() : pointId
  own.claim({ pool, dataset, use: { kind: 'job', jobId } })
  const { mountpoint } = await driver.create(dataset, unwatched)
  const held = await fill({ mountpoint, living, older: older || undefined, image: image || undefined }, large)
  if (held === 0) return false
  if (dataset !== pointId) await exchange(mountpoint, pointId)
  keepBase(tools, keeping)
  // Deleted meanwhile: whoever did that dropped what was kept before.
  if ((await driver.find(source)) === undefined) await dropBaseOf(tools, pointId)
  dropSuperseded(tools)
  return true
}

interface Places {
  /** Of the dataset that is filled. */
  readonly mountpoint: string
  readonly living: DatasetInfo
  readonly older: DatasetInfo | undefined
  readonly image: DatasetInfo | undefined
}

/** @returns how many clones are in it, on the disk */
async function fill({ mountpoint, living, older, image }: Places, written: LargeFiles): Promise<number> {
  const opened: number[] = []
  const opening = (fd: number) => {
    opened.push(fd)
    return fd
  }
  try {
    const rootFd = opening(openRoot(mountpoint))
    const folderFd = opening(takeClones(rootFd, older && opening(openRoot(older.mountpoint))))
    const left = await pruneClones(folderFd, { livingFd: opening(openRoot(living.mountpoint)), written })
    const imageFd = image && opening(openRoot(image.mountpoint))
    const held = imageFd === undefined ? left : await placeClones(folderFd, { imageFd, written, held: left })
    await syncFileSystem(rootFd)
    return held
  } finally {
    for (const fd of opened) close(fd)
  }
}

/** The image takes the name of what is kept, and its owner. */
async function exchange(mountpoint: string, pointId: string): Promise<void> {
  const folderFd = openRoot(dirname(mountpoint))
  try {
    rename(folderFd, cString(basename(mountpoint)), cString(pointId), RENAME_EXCHANGE)
    await flush(folderFd)
  } finally {
    close(folderFd)
  }
}
