import { libc } from '../native/libc.ts'
import { reflink } from '../native/reflink.ts'
import { checked, lastErrorCode } from '../native/system-error.ts'
import type { Counters } from './counters.ts'

/** Between two looks at the stop flag; at 50 MB/s still under 50 ms. */
const CHUNK_BYTES = 2 ** 21
const SEEK_SET = 0
const SEEK_DATA = 3
const SEEK_HOLE = 4

/** `share`: blocks are shared where the file systems can. `copy`: bytes are copied even where they could be shared. */
export type ContentMode = 'share' | 'copy'

interface Content {
  readonly sourceFd: number
  readonly targetFd: number
  /** Of the source when it was looked at; what a writer appends afterwards is not copied. */
  readonly sizeBytes: number
  readonly allocatedBytes: number
}

/**
 * Fills an empty file with another's content.
 * @returns true when no byte was copied. @throws SystemError; cancelled
 */
export function transferContent(content: Content, mode: ContentMode, counters: Counters): boolean {
  if (content.sizeBytes === 0) return true
  if (mode === 'share' && reflink(content.sourceFd, content.targetFd)) {
    counters.addBytes(content.sizeBytes)
    return true
  }
  copyContent(content, counters)
  return false
}

/**
 * sendfile, never copy_file_range: on btrfs and XFS the latter may share blocks behind our back, and a copy has to be one.
 * Holes stay holes.
 */
export function copyContent(content: Content, counters: Counters): void {
  const { lseek, ftruncate } = libc()
  if (content.allocatedBytes >= content.sizeBytes) {
    copyRange(content, 0, content.sizeBytes, counters)
    return
  }
  for (let end = 0; end < content.sizeBytes; ) {
    const start = lseek(content.sourceFd, end, SEEK_DATA)
    if (start < 0 && lastErrorCode() === 'ENXIO') break
    checked('lseek', start)
    end = Math.min(checked('lseek', lseek(content.sourceFd, start, SEEK_HOLE)), content.sizeBytes)
    copyRange(content, start, end, counters)
  }
  checked('ftruncate', ftruncate(content.targetFd, content.sizeBytes))
}

function copyRange({ sourceFd, targetFd }: Content, start: number, end: number, counters: Counters): void {
  const { lseek, sendfile } = libc()
  checked('lseek', lseek(sourceFd, start, SEEK_SET))
  checked('lseek', lseek(targetFd, start, SEEK_SET))
  for (let left = end - start; left > 0; ) {
    counters.throwIfStopped()
    const moved = checked('sendfile', sendfile(targetFd, sourceFd, null, Math.min(left, CHUNK_BYTES)))
    if (moved === 0) return // the source was cut short meanwhile
    left -= moved
    counters.addBytes(moved)
  }
}
