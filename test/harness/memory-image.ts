import { mkdtempSync, rmSync, statfsSync, symlinkSync } from 'node:fs'
import { freemem } from 'node:os'
import { join } from 'node:path'

const MEMORY = '/dev/shm'
/** How many images of a size may be full at one time, and what all else wants. */
const IMAGES = 3
const ELSE_BYTES = 2 ** 30

/**
 * Makes `path` a link to a file to be in memory, where there is room: a flush takes a disk 4 ms, memory a tenth of that, and what tests
 * prove is proved of the file system within. Without room `path` is left to be made.
 */
export function inMemory(t: { teardown(act: () => void): void }, path: string, sizeBytes: number): void {
  if (!hasRoom(IMAGES * sizeBytes + ELSE_BYTES)) return
  const directory = mkdtempSync(join(MEMORY, 'holdfast-test-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  symlinkSync(join(directory, 'image'), path)
}

function hasRoom(bytes: number): boolean {
  try {
    const { bavail, bsize } = statfsSync(MEMORY)
    return bavail * bsize >= bytes && freemem() >= bytes
  } catch {
    return false
  }
}
