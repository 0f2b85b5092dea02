import { FleetError } from '../../../shared/errors.ts'
import type { S3Client, S3Request } from './s3-client.ts'
import { s3Error } from './s3-error.ts'
import { readMember } from './s3-listing.ts'

/** One copy within S3 takes at most 5 GiB (CopyObject). */
const MAX_COPY_BYTES = 5 * 2 ** 30
/** Of one that is larger: each is copied before anybody stops waiting for it (UploadPartCopy). */
const PART_BYTES = 2 ** 29
const DISCARD_MS = 5_000
const MAX_ANSWER_BYTES = 65_536

export interface Copy {
  /** `/bucket/key`, encoded. */
  readonly source: string
  readonly sizeBytes: number
  readonly to: string
}

/** Within the bucket, whole or not at all. @throws FleetError */
export async function copyObject(client: S3Client, copy: Copy, signal: AbortSignal): Promise<void> {
  if (copy.sizeBytes > MAX_COPY_BYTES) return copyByParts(client, copy, signal)
  await copied(client, { copy, query: {}, headers: {} }, signal)
}

async function copyByParts(client: S3Client, copy: Copy, signal: AbortSignal): Promise<void> {
  const path = copy.to
  const begun = await client.expect({ method: 'POST', path, query: { uploads: '' }, signal })
  const uploadId = await readMember(begun.chunks(signal), 'UploadId')
  if (uploadId === undefined) throw new FleetError('internal', 'gives an answer that is not understood')
  try {
    const parts: string[] = []
    for (let at = 0; at < copy.sizeBytes; at += PART_BYTES) {
      const number = parts.length + 1
      const range = `bytes=${at}-${Math.min(at + PART_BYTES, copy.sizeBytes) - 1}`
      const query = { partNumber: String(number), uploadId }
      const tag = await copied(client, { copy, query, headers: { 'x-amz-copy-source-range': range } }, signal)
      parts.push(`<Part><PartNumber>${number}</PartNumber><ETag>${tag}</ETag></Part>`)
    }
    const body = Buffer.from(`<CompleteMultipartUpload>${parts.join('')}</CompleteMultipartUpload>`)
    const answer = await client.expect({ method: 'POST', path, query: { uploadId }, body, signal })
    const text = await answer.body(MAX_ANSWER_BYTES, signal)
    if (text.includes('<Error>')) throw s3Error(500, text)
  } catch (error) {
    const discarding = AbortSignal.timeout(DISCARD_MS)
    // What cannot be taken away now is swept once it is old.
    await client.send({ method: 'DELETE', path, query: { uploadId }, signal: discarding }).then(
      (answer) => answer.discard(discarding),
      () => undefined,
    )
    throw error
  }
}

/** @returns the tag of what was copied. A failure may come after the status was sent. */
async function copied(
  client: S3Client,
  { copy, query, headers }: { readonly copy: Copy } & Required<Pick<S3Request, 'query' | 'headers'>>,
  signal: AbortSignal,
): Promise<string> {
  const sourced = { 'x-amz-copy-source': copy.source, ...headers }
  const answer = await client.expect({ method: 'PUT', path: copy.to, query, headers: sourced, signal })
  const tag = await readMember(answer.chunks(signal), 'ETag')
  if (tag === undefined || /[<&]/.test(tag)) throw new FleetError('unavailable', 'reports a failure of its own')
  return tag
}
