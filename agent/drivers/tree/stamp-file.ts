import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { syncFileSystem } from '../../native/file-system.ts'
import { cString } from '../../native/libc.ts'
import { Status } from '../../native/status.ts'
import { SETTLED_MS, sealStamps } from '../../tree/stamps.ts'
import { datasetNotFound } from '../pool-layout.ts'

const PARTIAL = '.partial'
/** The stamps of one clone while it is made. */
export interface StampFile {
  readonly fd: number
  readonly settledBeforeMs: number
  /** Puts them under their name, once the staged clone is as it will stay: durably, where that lasts. */
  complete(clone: { readonly datasetsFd: number; readonly staged: string; readonly lasts: boolean }): Promise<void>
  /** What is not complete is removed. */
  close(): Promise<void>
}

/**
 * Begins them before the source is read. Its dirty pages are written first: a page that a program has mapped tells of the next
 * write to it only once it is clean, so what changes from here on has a later ctime.
 */
export async function beginStamps(path: string, sourceFd: number): Promise<StampFile> {
  const settledBeforeMs = Date.now() - SETTLED_MS
  await syncFileSystem(sourceFd)
  const handle = await open(`${path}${PARTIAL}`, 'w', 0o600)
  return {
    fd: handle.fd,
    settledBeforeMs,

    async complete({ datasetsFd, staged, lasts }) {
      const root = new Status().readName(datasetsFd, cString(staged))
      if (root === undefined) throw datasetNotFound(staged)
      sealStamps(handle.fd, root, Date.now() + 1)
      if (lasts) await handle.sync()
      await rename(`${path}${PARTIAL}`, path)
      if (lasts) await syncDirectory(dirname(path))
    },

    async close() {
      await handle.close()
      await rm(`${path}${PARTIAL}`, { force: true })
    },
  }
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
