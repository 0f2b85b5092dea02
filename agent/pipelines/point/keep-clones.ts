import { randomUUID } from 'node:crypto'
import { fsync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { promisify } from 'node:util'
import type { LargeFiles } from '../../archive/large-file.ts'
import type { DatasetInfo } from '../../drivers/driver.ts'
import { syncFileSystem } from '../../native/file-system.ts'
import { cString } from '../../native/libc.ts'
import { close, RENAME_EXCHANGE, RENAME_NOREPLACE, rename } from '../../native/paths.ts'
import { makeClones, placeClones, pruneClones } from '../../points/large-clones.ts'
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
  if (large === undefined) return false
  const driver = tools.driver(pool)
  const mayTake = completes && large.isAll && olderId !== undefined && own.has(olderId, 'base')
  const older = mayTake ? await driver.find(olderId) : undefined
  const image = hasImage ? await driver.find(pointId) : undefined
  const living = await driver.find(source)
  if (living === undefined || (older === undefined && (image === undefined || large.files.length === 0))) return false
  // What is kept goes on from point to point.
  const dataset = older === undefined || olderId === undefined ? randomUUID() : olderId
  if (older === undefined) own.claim({ pool, dataset, use: { kind: 'job', jobId } })
  const { mountpoint } = older ?? (await driver.create(dataset, unwatched))
  if ((await fill({ mountpoint, living, image }, large)) === 0) return false
  for (const id of [dataset, pointId]) own.claim({ pool, dataset: id, use: { kind: 'job', jobId } })
  await giveName(mountpoint, { pointId, isTaken: image !== undefined })
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
  readonly image: DatasetInfo | undefined
}

/** @returns how many clones are in it, on the disk */
async function fill({ mountpoint, living, image }: Places, written: LargeFiles): Promise<number> {
  const opened: number[] = []
  const opening = (fd: number) => {
    opened.push(fd)
    return fd
  }
  try {
    const rootFd = opening(openRoot(mountpoint))
    const folderFd = opening(makeClones(rootFd))
    const left = await pruneClones(folderFd, { livingFd: opening(openRoot(living.mountpoint)), written })
    if (image === undefined) return left
    const imageFd = opening(openRoot(image.mountpoint))
    const held = await placeClones(folderFd, { imageFd, written, held: left })
    await syncFileSystem(rootFd)
    return held
  } finally {
    for (const fd of opened) close(fd)
  }
}

/** What is kept gets the name of the point; the image, where that has it, the other one. */
async function giveName(
  mountpoint: string,
  { pointId, isTaken }: { readonly pointId: string; readonly isTaken: boolean },
): Promise<void> {
  const folderFd = openRoot(dirname(mountpoint))
  try {
    const mode = isTaken ? RENAME_EXCHANGE : RENAME_NOREPLACE
    rename(folderFd, cString(basename(mountpoint)), cString(pointId), mode)
    await flush(folderFd)
  } finally {
    close(folderFd)
  }
}
