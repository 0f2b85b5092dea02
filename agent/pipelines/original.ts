import { constants } from 'node:fs'
import type { LiveTree } from '../archive/write-archive.ts'
import type { Original } from '../drivers/driver.ts'
import { close, openBeneath, openDirectory } from '../native/paths.ts'
import { errorCodeOf } from '../native/system-error.ts'

const READ_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY

/** @param inner the directory in it that is read @returns undefined where it is gone meanwhile: then the snapshot alone is read */
export function openOriginal({ mountpoint, settledBeforeMs }: Original, inner = '.'): LiveTree | undefined {
  try {
    const rootFd = openDirectory(mountpoint)
    try {
      return { fd: openBeneath(rootFd, inner, READ_DIRECTORY), settledBeforeMs }
    } finally {
      close(rootFd)
    }
  } catch (error) {
    if (errorCodeOf(error) === undefined) throw error
    return undefined
  }
}
