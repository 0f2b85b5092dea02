import { libc } from '../native/libc.ts'
import { removeFile } from '../native/paths.ts'
import type { Status } from '../native/status.ts'
import { checked, errorCodeOf, lastErrorCode } from '../native/system-error.ts'
import type { MetadataCopier } from './metadata.ts'

const LINK_BYTES = 4_096

/** The same name below two descriptors. */
interface SamePlace {
  readonly sourceFd: number
  readonly targetFd: number
  readonly name: Buffer
}

/**
 * Makes a symbolic link, fifo, device node or socket as it is; a link's text is copied, never followed.
 * @returns false when the source is no longer what `status` says. @throws SystemError EPERM for a device without the right
 */
export function copySpecialEntry(place: SamePlace, status: Status, metadata: MetadataCopier): boolean {
  if (status.kind === 'symlink' && !copyLink(place)) return false
  if (status.kind !== 'symlink') {
    checked('mknod', libc().mknodat(place.targetFd, place.name, status.mode, status.specialDevice))
  }
  try {
    metadata.toName(status, {
      source: pathBelow(place.sourceFd, place.name),
      target: pathBelow(place.targetFd, place.name),
    })
  } catch (error) {
    if (errorCodeOf(error) !== 'ENOENT') throw error
    // Gone since it was looked at: a live tree.
    removeFile(place.targetFd, place.name)
    return false
  }
  return true
}

function copyLink({ sourceFd, targetFd, name }: SamePlace): boolean {
  const text = Buffer.alloc(LINK_BYTES + 1)
  const length = libc().readlinkat(sourceFd, name, text, LINK_BYTES)
  if (length < 0 && (lastErrorCode() === 'EINVAL' || lastErrorCode() === 'ENOENT')) return false
  checked('readlink', length)
  text[length] = 0
  checked('symlink', libc().symlinkat(text, targetFd, name))
  return true
}

/** A path whose one lookup starts at the descriptor, for the calls that have no `at` form. */
function pathBelow(directoryFd: number, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${directoryFd}/`), name])
}
