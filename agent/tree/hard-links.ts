import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { type CString, cString, libc } from '../native/libc.ts'
import { close, howBeneath, makeDirectory, tryOpenBeneath } from '../native/paths.ts'
import type { Status } from '../native/status.ts'
import { checked, lastErrorCode } from '../native/system-error.ts'
import { removeTree } from './remove-tree.ts'

const READ_DIRECTORY = howBeneath(constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_DIRECTORY)
const MODE = 0o700

/**
 * Which files of a tree are one: of each that has several names, the first that is made gets one more, its number, in a directory of
 * the new tree itself, and the others are linked to that. Memory would not hold them all: a tree may have a million such files.
 */
export class HardLinks implements Disposable {
  /** One that nothing in the tree has. */
  readonly #name = cString(`.links-${randomUUID()}`)
  #rootFd = -1
  #directoryFd: number | undefined

  /** Before anything else. @param rootFd of the new tree; stays open */
  within(rootFd: number): void {
    this.#rootFd = rootFd
  }

  /** @returns false when this file was not made yet (or has but one name), so it must be */
  repeat(status: Status, directoryFd: number, name: CString): boolean {
    if (status.links === 1) return false
    const [fromFd, key] = [this.#open(), keyOf(status)]
    if (libc().linkat(fromFd, key, directoryFd, name, 0) === 0) return true
    const code = lastErrorCode()
    if (code === 'ENOENT') return false
    // As many names as a file may have: the last gets what was ours.
    if (code === 'EMLINK') checked('rename', libc().renameat2(fromFd, key, directoryFd, name, 0))
    else checked('linkat', -1)
    return true
  }

  /** What was made under this name is the first of its file. */
  keep(status: Status, directoryFd: number, name: CString): void {
    if (status.links > 1) checked('linkat', libc().linkat(directoryFd, name, this.#open(), keyOf(status), 0))
  }

  /** Once the tree is whole. */
  remove(throwIfStopped: () => void): void {
    if (this.#directoryFd !== undefined)
      removeTree(this.#rootFd, this.#name, { throwIfStopped, addFiles: () => undefined })
  }

  [Symbol.dispose](): void {
    if (this.#directoryFd !== undefined) close(this.#directoryFd)
  }

  #open(): number {
    if (this.#directoryFd !== undefined) return this.#directoryFd
    makeDirectory(this.#rootFd, this.#name, MODE)
    this.#directoryFd = checked('openat2', tryOpenBeneath(this.#rootFd, this.#name, READ_DIRECTORY))
    return this.#directoryFd
  }
}

/** A number may be another file's a moment later, while a live tree is cloned. */
function keyOf(status: Status): CString {
  return cString(status.identity)
}
