import { constants } from 'node:fs'
import { type CString, libc } from '../native/libc.ts'
import { close, howBeneath, tryOpenBeneath } from '../native/paths.ts'
import type { Status } from '../native/status.ts'
import { checked } from '../native/system-error.ts'

const WALK = howBeneath(constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_DIRECTORY)

/** An entry of a tree that is being made: NUL-terminated names from the root's descriptor down. */
export interface Place {
  readonly rootFd: number
  readonly names: readonly Buffer[]
}

/** Which files of a tree are one: remembers the first name of each that has several, and links the later ones to it. */
export class HardLinks {
  readonly #places = new Map<string, Place>()

  remember(status: Status, place: Place): void {
    this.#places.set(keyOf(status), place)
  }

  /** @returns false when this file was not seen yet (or has but one name), so it must be made */
  repeat(status: Status, directoryFd: number, name: CString): boolean {
    if (status.links === 1) return false
    const place = this.#places.get(keyOf(status))
    if (place === undefined) return false
    linkTo(place, directoryFd, name)
    return true
  }
}

function keyOf(status: Status): string {
  return `${status.device}:${status.inode}`
}

/** Component by component, as a whole path may be longer than the kernel takes. */
function linkTo({ rootFd, names }: Place, directoryFd: number, name: CString): void {
  let parentFd = rootFd
  try {
    for (const parent of names.slice(0, -1)) {
      const fd = checked('openat2', tryOpenBeneath(parentFd, parent, WALK))
      if (parentFd !== rootFd) close(parentFd)
      parentFd = fd
    }
    checked('linkat', libc().linkat(parentFd, names.at(-1) ?? name, directoryFd, name, 0))
  } finally {
    if (parentFd !== rootFd) close(parentFd)
  }
}
