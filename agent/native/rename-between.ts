import { type CString, libc } from './libc.ts'
import type { RenameMode } from './paths.ts'
import { checked } from './system-error.ts'

interface Place {
  readonly directoryFd: number
  readonly name: CString
}

/** Moves a name from one directory of a file system to another. @throws SystemError EEXIST with RENAME_NOREPLACE */
export function renameBetween(from: Place, to: Place, mode: RenameMode): void {
  checked('rename', libc().renameat2(from.directoryFd, from.name, to.directoryFd, to.name, mode))
}
