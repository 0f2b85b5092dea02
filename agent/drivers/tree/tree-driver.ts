import { constants, fsync, readdir } from 'node:fs'
import { promisify } from 'node:util'
import type { DriverName } from '../../../shared/wire/messages.ts'
import { syncFileSystem } from '../../native/file-system.ts'
import { cString, libc } from '../../native/libc.ts'
import { close, makeDirectory, openBeneath, RENAME_NOREPLACE, rename } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import { checked, errorCodeOf } from '../../native/system-error.ts'
import { readNote, writeNote } from '../../native/xattrs.ts'
import type { ContentMode } from '../../tree/file-content.ts'
import { runTreeTask, type TreeWatch } from '../../tree/tree-task.ts'
import type { Driver, ImageInfo, SnapshotRequest } from '../driver.ts'
import {
  DATASET_MODE,
  datasetNotFound,
  isStagedName,
  type PoolLayout,
  stagedName,
  throwIfCancelled,
} from '../pool-layout.ts'
import { sweepEach } from '../sweep-each.ts'
import { beginStamps, type StampFile } from './stamp-file.ts'

const flush = promisify(fsync)
const listNames = promisify(readdir)
const unwatched: TreeWatch = { signal: new AbortController().signal, progress: () => undefined }
const READ_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY
/** Noted on an image's root, so that a repeated order still knows whether bytes were copied. */
const COW_NOTE = 'cow'

interface TreeImages {
  readonly name: Extract<DriverName, 'reflink' | 'copy'>
  readonly mode: ContentMode
}

/**
 * Datasets are directories; an image is a walk over a tree, cloned or copied file by file, staged and then renamed. Not one
 * instant of a tree that is being written, and nothing stops a write to an image that is called read-only.
 */
export function createTreeDriver(layout: PoolLayout, { name, mode }: TreeImages): Driver {
  async function imageFound(datasetsFd: number, dataset: string): Promise<ImageInfo | undefined> {
    const found = layout.find(datasetsFd, dataset)
    if (!found) return undefined
    const rootFd = openBeneath(datasetsFd, dataset, READ_DIRECTORY)
    try {
      return { ...found, atomic: false, cow: readNote(rootFd, COW_NOTE) === 'true' }
    } finally {
      close(rootFd)
    }
  }

  return {
    name,
    capabilities: { cow: mode === 'share', atomic: false, enforcesReadonly: false },

    create(dataset, { signal }) {
      throwIfCancelled(signal)
      return layout.within(async (datasetsFd) => {
        if (!layout.find(datasetsFd, dataset)) makeIfAbsent(datasetsFd, dataset)
        checked('fchmodat', libc().fchmodat(datasetsFd, cString(dataset), DATASET_MODE, 0))
        await flush(datasetsFd)
        return layout.find(datasetsFd, dataset) ?? fail(dataset)
      })
    },

    snapshot({ source, target, stamps, only }, watch) {
      throwIfCancelled(watch.signal)
      return layout.within(async (datasetsFd) => {
        const existing = await imageFound(datasetsFd, target)
        if (existing) return existing
        if (!layout.find(datasetsFd, source)) throw datasetNotFound(source)
        await makeImage({ datasetsFd, source, target, mode, stamps, only }, watch)
        const [made, living] = [await imageFound(datasetsFd, target), layout.find(datasetsFd, source)]
        if (made === undefined) return fail(target)
        // What was copied was read just now, and is in memory as the rest.
        const isKnown = made.cow && stamps !== undefined && living !== undefined
        return isKnown ? { ...made, original: { mountpoint: living.mountpoint } } : made
      })
    },

    destroy(dataset, { signal }) {
      throwIfCancelled(signal)
      return layout.within(async (datasetsFd) => {
        if (layout.find(datasetsFd, dataset)) {
          await removeStaged(datasetsFd, stagedName(dataset))
          rename(datasetsFd, cString(dataset), cString(stagedName(dataset)), RENAME_NOREPLACE)
          await flush(datasetsFd)
        }
        // It is gone as of the rename: an abort no longer brings it back, so it does not stop the clearing away either.
        await removeStaged(datasetsFd, stagedName(dataset))
      })
    },

    find: (dataset) => layout.within(async (datasetsFd) => layout.find(datasetsFd, dataset)),
    usage: () => layout.usage(),

    sweep() {
      return layout.within(async (datasetsFd) => {
        const names = await listNames(layout.datasetsPath)
        await sweepEach(names.filter(isStagedName), (staged) => removeStaged(datasetsFd, staged))
      })
    },
  }
}

function makeIfAbsent(datasetsFd: number, dataset: string): void {
  try {
    makeDirectory(datasetsFd, cString(dataset), DATASET_MODE)
  } catch (error) {
    if (errorCodeOf(error) !== 'EEXIST') throw error
  }
}

function fail(dataset: string): never {
  throw datasetNotFound(dataset)
}

async function removeStaged(datasetsFd: number, name: string): Promise<void> {
  if (new Status().readName(datasetsFd, cString(name)) === undefined) return // a look costs less than a thread
  const task = { subject: 'delete', kind: 'remove', parentFd: datasetsFd, name: cString(name), unlocks: true } as const
  await runTreeTask(task, unwatched)
}

interface ImageRequest {
  readonly datasetsFd: number
  readonly source: string
  readonly target: string
  readonly mode: ContentMode
  readonly stamps: string | undefined
  readonly only: SnapshotRequest['only']
}

async function makeImage(request: ImageRequest, watch: TreeWatch): Promise<void> {
  const { datasetsFd, source, target, mode } = request
  const staged = stagedName(target)
  await removeStaged(datasetsFd, staged)
  const sourceFd = openBeneath(datasetsFd, source, READ_DIRECTORY)
  let stamps: StampFile | undefined
  try {
    if (request.stamps !== undefined) stamps = await beginStamps(request.stamps, sourceFd)
    const lasts = request.only === undefined
    const task = {
      subject: 'snapshot',
      kind: 'clone',
      sourceFd,
      parentFd: datasetsFd,
      name: cString(staged),
      mode,
      ...(stamps === undefined ? {} : { stamps: { fd: stamps.fd, settledBeforeMs: stamps.settledBeforeMs } }),
      ...(request.only === undefined ? {} : { only: request.only }),
    } as const
    const { cow } = await runTreeTask(task, watch)
    note(datasetsFd, staged, cow && mode === 'share')
    await stamps?.complete({ datasetsFd, staged, lasts })
    if (lasts) await syncFileSystem(datasetsFd)
    throwIfCancelled(watch.signal)
    rename(datasetsFd, cString(staged), cString(target), RENAME_NOREPLACE)
    if (lasts) await flush(datasetsFd)
  } catch (error) {
    await removeStaged(datasetsFd, staged)
    throw error
  } finally {
    await stamps?.close()
    close(sourceFd)
  }
}

function note(datasetsFd: number, staged: string, cow: boolean): void {
  const rootFd = openBeneath(datasetsFd, staged, READ_DIRECTORY)
  try {
    writeNote(rootFd, COW_NOTE, String(cow))
  } finally {
    close(rootFd)
  }
}
