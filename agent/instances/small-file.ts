import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { FleetError } from '../../shared/errors.ts'
import { errorCodeOf } from '../native/system-error.ts'

/** A plain file as a whole. @throws not_found when it is absent or no plain file; too_large */
export function readSmallFile(path: string, maxBytes: number): Buffer {
  const fd = open(path)
  try {
    const status = fstatSync(fd)
    if (!status.isFile()) throw new FleetError('not_found', 'not a plain file', { detail: path })
    const bytes = Buffer.alloc(Math.min(status.size, maxBytes) + 1)
    let length = 0
    for (let read = -1; read !== 0 && length < bytes.length; length += read) {
      read = readSync(fd, bytes, length, bytes.length - length, null)
    }
    if (length === bytes.length)
      throw new FleetError('too_large', 'a configuration is too large, or grows', { detail: path })
    return Buffer.from(bytes.subarray(0, length))
  } finally {
    closeSync(fd)
  }
}

/** A FIFO must not keep us waiting for its writer. */
function open(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (cause) {
    if (errorCodeOf(cause) !== 'ENOENT') throw cause
    throw new FleetError('not_found', 'a configuration is gone', { detail: path, cause })
  }
}
