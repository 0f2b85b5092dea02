import { type ErrorCode, FleetError } from '../../../shared/errors.ts'

/** SSH_FX_* of draft-ietf-secsh-filexfer-02 §7, which OpenSSH speaks (version 3). */
const MEANINGS: Readonly<Record<number, readonly [code: ErrorCode, message: string]>> = {
  2: ['not_found', 'no such file or directory'],
  3: ['refused', 'does not permit it'],
  4: ['internal', 'reports a failure without saying which'],
  5: ['internal', 'does not understand a request'],
  6: ['unavailable', 'cut the connection'],
  7: ['unavailable', 'cut the connection'],
  8: ['internal', 'does not offer this operation'],
}
const END = 1
const UNSUPPORTED = 8
/** SSH_FX_FAILURE: a full disk, an existing name, a directory with content. Who knows what was tried finds out which. */
const FAILURE = 4

/** What ssh2 reports: a status of the protocol, a failed login, a key that is not the pinned one, or a cut connection. */
export function asSftpError(thrown: unknown): unknown {
  if (!(thrown instanceof Error) || thrown instanceof FleetError) return thrown
  const code: unknown = 'code' in thrown ? thrown.code : undefined
  if (typeof code === 'number') {
    const [meaning, message] = MEANINGS[code] ?? ['internal', 'reports a failure that is not known']
    return new FleetError(meaning, message, { cause: thrown, detail: `SFTP status ${code}: ${thrown.message}` })
  }
  if (typeof code === 'string') return thrown // the system's: it has a meaning already
  const level: unknown = 'level' in thrown ? thrown.level : undefined
  const known = typeof level === 'string' ? LEVELS[level] : undefined
  if (known !== undefined) return new FleetError(known[0], known[1], { cause: thrown, detail: thrown.message })
  return new FleetError('unavailable', 'cut the connection', { cause: thrown, detail: thrown.message })
}

const LEVELS: Readonly<Record<string, readonly [code: ErrorCode, message: string]>> = {
  'client-authentication': ['refused', 'does not accept the user name with this password or key'],
  'client-timeout': ['timeout', 'does not answer'],
  handshake: ['refused', 'does not speak SSH as it should'],
  protocol: ['unavailable', 'does not speak SSH as it should'],
}

/** Whether the server only said that it failed. */
export function isPlainFailure(error: unknown): boolean {
  return error instanceof FleetError && statusOf(error.cause) === FAILURE
}

export function isUnsupported(error: unknown): boolean {
  return error instanceof FleetError && statusOf(error.cause) === UNSUPPORTED
}

/** The end of a file or a listing, which the protocol tells as an error. */
export function isEnd(error: unknown): boolean {
  return statusOf(error) === END
}

function statusOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
