import { type ErrorCode, FleetError } from '../../../shared/errors.ts'
import { statusError } from '../http-status.ts'

/** S3's own codes, where they say more than the status does. */
const MEANINGS: Readonly<Record<string, readonly [code: ErrorCode, message: string]>> = {
  SlowDown: ['busy', 'asks for fewer requests'],
  RequestTimeout: ['timeout', 'did not get the request in time'],
  InternalError: ['unavailable', 'reports a failure of its own'],
  InvalidAccessKeyId: ['refused', 'does not accept the access key'],
  SignatureDoesNotMatch: ['refused', 'does not accept the access key'],
  AccessDenied: ['refused', 'does not permit it'],
  RequestTimeTooSkewed: ['refused', 'finds that the clocks differ too much'],
  NoSuchBucket: ['not_found', 'has no such bucket'],
  NoSuchUpload: ['not_found', 'no longer knows this upload'],
  BadDigest: ['corrupt', 'received other bytes than were sent'],
  XAmzContentSHA256Mismatch: ['corrupt', 'received other bytes than were sent'],
  EntityTooLarge: ['too_large', 'does not take files of this size'],
  QuotaExceeded: ['no_space', 'is full'],
  PreconditionFailed: ['exists', 'the destination exists already'],
}

export function s3Error(status: number, body: Buffer): FleetError {
  const code = /<Code>([A-Za-z0-9]{1,64})<\/Code>/.exec(body.toString())?.[1]
  const meaning = code === undefined ? undefined : MEANINGS[code]
  if (meaning === undefined) return statusError(status)
  return new FleetError(meaning[0], meaning[1], { detail: `HTTP ${status} ${code}` })
}
