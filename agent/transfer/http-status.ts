import { type ErrorCode, FleetError } from '../../shared/errors.ts'

const MEANINGS: Readonly<Record<number, readonly [code: ErrorCode, message: string]>> = {
  401: ['refused', 'does not accept the user name and password'],
  403: ['refused', 'does not permit it'],
  404: ['not_found', 'no such file or directory'],
  405: ['refused', 'does not offer this method'],
  408: ['timeout', 'did not get the request in time'],
  409: ['conflict', 'a parent directory is missing or in the way'],
  411: ['invalid', 'wants to know the size before an upload begins'],
  412: ['exists', 'the destination exists already'],
  413: ['too_large', 'does not take files of this size'],
  423: ['busy', 'the file is locked'],
  429: ['busy', 'asks for fewer requests'],
  507: ['no_space', 'is full'],
}

/** What an answer that is no success means. Redirects are not followed: they could lead where no target may be. */
export function statusError(status: number): FleetError {
  const detail = `HTTP ${status}`
  if (status >= 300 && status < 400)
    return new FleetError('refused', 'redirects elsewhere, which is not followed', { detail })
  const [code, message] = MEANINGS[status] ?? (status >= 500 ? SERVER_FAILED : UNKNOWN)
  return new FleetError(code, message, { detail })
}

const SERVER_FAILED = ['unavailable', 'reports a failure of its own'] as const
const UNKNOWN = ['internal', 'gives an answer that is not understood'] as const
