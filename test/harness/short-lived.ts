import { existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const MEMORY = '/dev/shm'
/** Of free memory there, or it is left alone. */
const ROOM_BYTES = 2 ** 30

/**
 * A directory for what all tests of a file share, in memory where there is room: many small files cost a disk's file system most of
 * their time. It goes when this process ends; what a process that was killed left goes with the next. @param end before it goes.
 */
export function shortLived(name: string, end: () => void): string {
  const root = hasRoom() ? MEMORY : tmpdir()
  const prefix = `${name}-${processes()}-`
  const leftover = new RegExp(`^${prefix}(\\d+)-`)
  for (const found of readdirSync(root)) {
    const pid = leftover.exec(found)?.[1]
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) rmSync(join(root, found), { recursive: true, force: true })
  }
  const folder = mkdtempSync(join(root, `${prefix}${process.pid}-`))
  process.once('exit', () => {
    end()
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  })
  return folder
}

/** Of which processes a number is one: that memory may be shared with containers, whose processes have numbers of their own. */
function processes(): string {
  return readlinkSync('/proc/self/ns/pid').replaceAll(/\D/g, '')
}

function hasRoom(): boolean {
  try {
    const { bavail, bsize } = statfsSync(MEMORY)
    return bavail * bsize >= ROOM_BYTES
  } catch {
    return false
  }
}
