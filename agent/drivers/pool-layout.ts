import assert from 'node:assert/strict'
import { constants } from 'node:fs'
import { mkdir, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { FleetError } from '../../shared/errors.ts'
import { cString } from '../native/libc.ts'
import { close, openDirectory, reopen } from '../native/paths.ts'
import { Status } from '../native/status.ts'
import { asFleetError } from '../native/system-error.ts'
import type { DatasetInfo } from './driver.ts'

/**
 * `<pool>/datasets/<uuid>`, and what is being made or removed as `<pool>/datasets/.<uuid>.partial`: the same parent, because a
 * read-only subvolume cannot be renamed to another one.
 */
const DATASETS = 'datasets'
/** Others may pass through to datasets they know by name, but not list them. */
const DATASETS_MODE = 0o711
export const DATASET_MODE = 0o755
const DATASET_NAME = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const STAGED_NAME = /^\.[0-9a-f-]{36}\.partial$/

export interface PoolLayout {
  readonly datasetsPath: string
  /** Runs `use` with the datasets directory open for reading. Failures are FleetErrors. */
  within<Result>(use: (datasetsFd: number) => Promise<Result>): Promise<Result>
  find(datasetsFd: number, dataset: string): DatasetInfo | undefined
  usage(): Promise<{ readonly sizeBytes: number; readonly freeBytes: number }>
}

export function stagedName(dataset: string): string {
  return `.${dataset}.partial`
}

export function isStagedName(name: string): boolean {
  return STAGED_NAME.test(name)
}

/** Makes the pool's directory where it is missing. @param path absolute @param subject begins messages clients may read */
export async function openPoolLayout(path: string, subject: string): Promise<PoolLayout> {
  const datasetsPath = join(path, DATASETS)
  await mkdir(datasetsPath, { recursive: true, mode: DATASETS_MODE })

  return {
    datasetsPath,

    async within(use) {
      let datasetsFd: number | undefined
      try {
        datasetsFd = openForReading(datasetsPath)
        return await use(datasetsFd)
      } catch (thrown) {
        throw asFleetError(thrown, subject)
      } finally {
        if (datasetsFd !== undefined) close(datasetsFd)
      }
    },

    find(datasetsFd, dataset) {
      assert.match(dataset, DATASET_NAME)
      const status = new Status().readName(datasetsFd, cString(dataset))
      if (status === undefined) return undefined
      if (status.kind !== 'directory') throw new FleetError('conflict', `dataset ${dataset} is not a directory`)
      return { rootInode: status.inode, mountpoint: join(datasetsPath, dataset) }
    },

    async usage() {
      const { blocks, bavail, bsize } = await statfs(datasetsPath)
      return { sizeBytes: blocks * bsize, freeBytes: bavail * bsize }
    },
  }
}

function openForReading(path: string): number {
  const pathFd = openDirectory(path)
  try {
    return reopen(pathFd, constants.O_RDONLY | constants.O_DIRECTORY)
  } finally {
    close(pathFd)
  }
}

export function throwIfCancelled(signal: AbortSignal): void {
  if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
}

export function datasetNotFound(dataset: string): FleetError {
  return new FleetError('not_found', `dataset ${dataset} is not on this host`)
}
