import { LARGE_BYTES } from '../native/reflink.ts'
import type { Status } from '../native/status.ts'
import type { BytePath } from './byte-path.ts'

/** Under which a clone notes what it holds. */
export const CLONE_NOTE = 'held'
/** Each may have a path of 4 KiB. */
const MAX_FILES = 1_024
/** What a symbolic link takes, behind `../`. */
export const MAX_PATH_BYTES = 4_092
const HELD = /^(\d+) (\S+) (\d+) (.*)$/s

/** Content of a file with one name, by what the index of its archive says of it. No other content of one series says the same. */
export interface HeldFile {
  readonly path: BytePath
  readonly inode: number
  /** ctime, as the index has it: with a mark where it says nothing. */
  readonly changed: string
  readonly sizeBytes: number
}

export interface LargeFile extends HeldFile {
  /** What was read, by its own number and ctime: it may be a clone of what the index tells of. */
  readonly read: { readonly inode: number; readonly changed: string }
}

/** The large files that were written into one archive, whole or what changed in them, and that nothing was wrong with. */
export interface LargeFiles {
  readonly files: readonly LargeFile[]
  /** There are no others. */
  readonly isAll: boolean
}

export class LargeFileList {
  readonly #files: LargeFile[] = []
  #isAll = true

  get all(): LargeFiles {
    return { files: this.#files, isAll: this.#isAll }
  }

  /** @param status of what was read @param told what the index says of it */
  add(path: BytePath, status: Status, told: { readonly inode: number; readonly changed: string }): void {
    const { sizeBytes, links, inode, changed } = status
    if (sizeBytes < LARGE_BYTES || links !== 1 || path.length > MAX_PATH_BYTES) return
    if (this.#files.length === MAX_FILES) this.#isAll = false
    else this.#files.push({ path, inode: told.inode, changed: told.changed, sizeBytes, read: { inode, changed } })
  }
}

/** What a clone says of itself. */
export function heldText({ path, inode, changed, sizeBytes }: HeldFile): string {
  return `${inode} ${changed} ${sizeBytes} ${path}`
}

/** @returns undefined where it is no such text */
export function parseHeld(text: string): HeldFile | undefined {
  const [, inode, changed, sizeBytes, path] = HELD.exec(text) ?? []
  if (changed === undefined || path === undefined) return undefined
  return { path, inode: Number(inode), changed, sizeBytes: Number(sizeBytes) }
}
