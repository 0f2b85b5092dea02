import { constants } from 'node:os'
import { type ErrorCode, FleetError } from '../../shared/errors.ts'
import { lastErrno } from './libc.ts'

/** A system call that failed, in the shape of Node's own: `code` is `ENOENT` and the like. */
export class SystemError extends Error {
  override readonly name = 'SystemError'
  readonly code: string
  readonly call: string

  constructor(call: string, code: string) {
    super(`${call}: ${code}`)
    this.call = call
    this.code = code
  }
}

export function systemError(call: string, errno: number): SystemError {
  return new SystemError(call, NAMES.get(errno) ?? `errno ${errno}`)
}

/** Two names share a number twice; the later wins, so the usual ones are put last. */
const NAMES: ReadonlyMap<number, string> = new Map([
  ...Object.entries(constants.errno).map(([name, errno]) => [errno, name] as const),
  [constants.errno.EAGAIN, 'EAGAIN'],
  [constants.errno.EOPNOTSUPP, 'EOPNOTSUPP'],
])

/** @returns `result` when it is not negative. @throws SystemError */
export function checked(call: string, result: number): number {
  if (result >= 0) return result
  throw systemError(call, lastErrno())
}

/** The name of the last failed call's error, for callers that tolerate some. */
export function lastErrorCode(): string {
  return systemError('', lastErrno()).code
}

/** `ENOENT` and the like of a SystemError or of an error of node:fs; undefined for anything else. */
export function errorCodeOf(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !('code' in thrown) || thrown instanceof FleetError) return undefined
  return typeof thrown.code === 'string' ? thrown.code : undefined
}

/** The one mapping from errno to the fleet's words. Anything absent is `internal`. */
const MEANINGS: Readonly<Record<string, readonly [code: ErrorCode, message: string]>> = {
  ENOSPC: ['no_space', 'the file system is full'],
  EDQUOT: ['no_space', 'the quota is used up'],
  ENOENT: ['not_found', 'no such file or directory'],
  ENOTDIR: ['not_found', 'a parent of the path is not a directory'],
  EEXIST: ['exists', 'the destination exists already'],
  ELOOP: ['refused', 'the path leads through a symbolic link'],
  EXDEV: ['refused', 'the path crosses a mount point or leaves its dataset'],
  EROFS: ['conflict', 'the file system or dataset is read-only'],
  ENOTEMPTY: ['conflict', 'the directory is not empty'],
  ETXTBSY: ['busy', 'a file is in use'],
  EBUSY: ['busy', 'the file or directory is in use'],
  EAGAIN: ['busy', 'the path changes too often to be followed'],
  EMFILE: ['busy', 'this agent has too many files open'],
  ENFILE: ['busy', 'this host has too many files open'],
  EPERM: ['refused', 'the host does not permit it'],
  EACCES: ['refused', 'the host does not permit it'],
  ENAMETOOLONG: ['invalid', 'a name or path is too long'],
  EFBIG: ['too_large', 'a file is larger than the destination can hold'],
}

/**
 * What a failed system call means. FleetErrors pass unchanged; what is neither is a bug and passes unchanged too.
 * @param subject begins the message a client may read, so it holds no host path: `restore to '/a'`.
 */
export function asFleetError(thrown: unknown, subject: string): unknown {
  const code = errorCodeOf(thrown)
  if (code === undefined) return thrown
  const [meaning, message] = MEANINGS[code] ?? ['internal', 'the file system reported an error']
  return new FleetError(meaning, `${subject}: ${message}`, { cause: thrown, detail: String(thrown) })
}
