import { closeSync, copyFileSync, existsSync, fstatSync, openSync, readSync, statSync, truncateSync } from 'node:fs'
import { PRIVATE_FILE_MODE } from './atomic-file.ts'

export const LOG_MAX_BYTES = 16 * 1024 * 1024
const TAIL_BYTES = 8 * 1024
const TAIL_LINES = 25

/**
 * The file a child process writes its output to by itself. Past `LOG_MAX_BYTES` its content moves to `<path>.1` and it
 * starts again empty; children append, so they need not be told.
 */
export function boundLog(path: string, maxBytes: number = LOG_MAX_BYTES): void {
  if (!existsSync(path) || statSync(path).size <= maxBytes) return
  copyFileSync(path, `${path}.1`)
  truncateSync(path)
}

/** @returns a file descriptor to append to; the caller closes it. */
export function openLog(path: string): number {
  boundLog(path)
  return openSync(path, 'a', PRIVATE_FILE_MODE)
}

/** The last lines of a log, for a terminal. */
export function tailOfLog(path: string): readonly string[] {
  if (!existsSync(path)) return []
  const file = openSync(path, 'r')
  try {
    const { size } = fstatSync(file)
    const buffer = Buffer.alloc(Math.min(size, TAIL_BYTES))
    const length = readSync(file, buffer, 0, buffer.length, size - buffer.length)
    return buffer.toString('utf8', 0, length).trimEnd().split('\n').slice(-TAIL_LINES)
  } finally {
    closeSync(file)
  }
}
