import { constants, fsync, readdir } from 'node:fs'
import { promisify } from 'node:util'
import { FleetError } from '../../../shared/errors.ts'
import { type Run, run } from '../../exec/run.ts'
import {
  createSnapshot,
  createSubvolume,
  destroySubvolume,
  hasNestedSubvolumes,
  SUBVOLUME_ROOT_INODE,
} from '../../native/btrfs.ts'
import { cString, libc } from '../../native/libc.ts'
import { close, openBeneath } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import { checked, errorCodeOf } from '../../native/system-error.ts'
import { SETTLED_MS } from '../../tree/stamps.ts'
import { runTreeTask } from '../../tree/tree-task.ts'
import type { DatasetInfo, Driver, ImageInfo, Original } from '../driver.ts'
import { DATASET_MODE, datasetNotFound, isStagedName, type PoolLayout, throwIfCancelled } from '../pool-layout.ts'
import { sweepEach } from '../sweep-each.ts'
import { changesBetween } from './changes.ts'

const flush = promisify(fsync)
const listNames = promisify(readdir)
const unwatched = { signal: new AbortController().signal, progress: () => undefined }

/**
 * Datasets are subvolumes, made straight under their final names: each of create, snapshot and destroy is one ioctl, so there
 * is nothing to stage. A snapshot pays for the source's dirty data, which it writes out first.
 */
export function createBtrfsDriver(layout: PoolLayout, exec: Run = run): Driver {
  async function madeOnce(datasetsFd: number, dataset: string, make: () => Promise<void>): Promise<DatasetInfo> {
    const existing = layout.find(datasetsFd, dataset)
    if (existing) return existing
    await make().catch((error) => {
      if (errorCodeOf(error) !== 'EEXIST') throw error // a concurrent call made it
    })
    const made = layout.find(datasetsFd, dataset)
    if (!made) throw new FleetError('internal', `dataset ${dataset} vanished after it was made`)
    return made
  }

  return {
    name: 'btrfs',
    capabilities: { cow: true, atomic: true, enforcesReadonly: true },

    create(dataset, { signal }) {
      throwIfCancelled(signal)
      return layout.within(async (datasetsFd) => {
        const made = await madeOnce(datasetsFd, dataset, () => createSubvolume(datasetsFd, dataset))
        checked('fchmodat', libc().fchmodat(datasetsFd, cString(dataset), DATASET_MODE, 0))
        return made
      })
    },

    snapshot({ source, target, readonly }, { signal }): Promise<ImageInfo> {
      throwIfCancelled(signal)
      return layout.within(async (datasetsFd) => {
        let original: Original | undefined
        const settledBeforeMs = Date.now() - SETTLED_MS
        const made = await madeOnce(datasetsFd, target, async () => {
          const found = layout.find(datasetsFd, source)
          if (!found) throw datasetNotFound(source)
          const sourceFd = openBeneath(datasetsFd, source, constants.O_RDONLY | constants.O_DIRECTORY)
          try {
            if (hasNestedSubvolumes(sourceFd)) throw nested()
            await createSnapshot({ directoryFd: datasetsFd, name: target, sourceFd, readonly })
            if (readonly) original = { mountpoint: found.mountpoint, settledBeforeMs }
          } finally {
            close(sourceFd)
          }
        })
        return { ...made, atomic: true, cow: true, ...(original && { original }) }
      })
    },

    destroy(dataset, { signal }) {
      throwIfCancelled(signal)
      return layout.within((datasetsFd) => destroy(datasetsFd, dataset))
    },

    changes({ base, image }, { signal }) {
      throwIfCancelled(signal)
      return layout.within(async (datasetsFd) => {
        if (!layout.find(datasetsFd, image)) throw datasetNotFound(image)
        if (!layout.find(datasetsFd, base)) return undefined
        const images = { datasetsFd, datasetsPath: layout.datasetsPath, base, image }
        return changesBetween(images, exec, signal).catch((error) => {
          if (layout.find(datasetsFd, base) || signal.aborted) throw error
          return undefined // destroyed meanwhile
        })
      })
    },

    find: (dataset) => layout.within(async (datasetsFd) => layout.find(datasetsFd, dataset)),
    usage: () => layout.usage(),

    sweep() {
      return layout.within(async (datasetsFd) => {
        const names = await listNames(layout.datasetsPath)
        await sweepEach(names.filter(isStagedName), (name) => destroy(datasetsFd, name))
      })
    },
  }
}

/** A snapshot would show them as empty directories: half a dataset that looks like a whole one. */
function nested(): FleetError {
  const message =
    'the dataset holds nested subvolumes, which a snapshot would leave out; turn them into directories first'
  return new FleetError('conflict', message)
}

async function destroy(datasetsFd: number, name: string): Promise<void> {
  const status = new Status().readName(datasetsFd, cString(name))
  if (status === undefined) return
  if (status.inode !== SUBVOLUME_ROOT_INODE) {
    const task = {
      subject: 'delete',
      kind: 'remove',
      parentFd: datasetsFd,
      name: cString(name),
      unlocks: true,
    } as const
    await runTreeTask(task, unwatched)
  } else {
    await destroySubvolume(datasetsFd, name).catch((error) => {
      const code = errorCodeOf(error)
      if (code === 'ENOTEMPTY') {
        throw new FleetError('conflict', 'the dataset holds nested subvolumes; delete those first', { cause: error })
      }
      if (code !== 'ENOENT') throw error
    })
  }
  // SNAP_DESTROY waits for no transaction: without this the dataset could be back after a power cut.
  await flush(datasetsFd)
}
