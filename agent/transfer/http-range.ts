import { FleetError } from '../../shared/errors.ts'
import type { HttpAnswer } from './http-client.ts'
import { statusError } from './http-status.ts'
import type { StoreFile } from './transfer.ts'

export interface RangeRequest {
  readonly headers: Readonly<Record<string, string>>
  readonly signal: AbortSignal
}

/**
 * A file read by range requests. An answer for another range, of another length, or of a file that was replaced meanwhile is an
 * error, never wrong bytes.
 * @param file.entityTag a strong one, or undefined
 */
export function rangedFile(
  file: { readonly sizeBytes: number; readonly entityTag: string | undefined },
  send: (asked: RangeRequest) => Promise<HttpAnswer>,
): StoreFile {
  return {
    sizeBytes: file.sizeBytes,
    async *stream(offset, length, signal) {
      if (length === 0) return
      const range = `bytes=${offset}-${offset + length - 1}`
      const match: Record<string, string> = file.entityTag === undefined ? {} : { 'if-match': file.entityTag }
      const answer = await send({ headers: { range, ...match }, signal })
      try {
        requireRange(answer, { offset, length, sizeBytes: file.sizeBytes })
      } catch (error) {
        await answer.discard(signal)
        throw error
      }
      let left = length
      for await (const chunk of answer.chunks(signal)) {
        left -= chunk.length
        if (left < 0) throw new FleetError('corrupt', 'answers with more than was asked for')
        yield chunk
      }
      if (left > 0) throw new FleetError('unavailable', 'ended an answer early')
    },
    async close() {},
  }
}

/** Whole files may be answered with 200 as well (RFC 9110 §14.2). */
function requireRange(
  answer: HttpAnswer,
  asked: { readonly offset: number; readonly length: number; readonly sizeBytes: number },
): void {
  const { status, headers } = answer
  if (status === 412) throw new FleetError('conflict', 'the file was replaced while it was read')
  if (status === 416) throw new FleetError('corrupt', 'the file is shorter than it was')
  if (status !== 206 && status !== 200) throw statusError(status)
  const whole = asked.offset === 0 && asked.length === asked.sizeBytes
  if (status === 200 && !whole) throw new FleetError('refused', 'does not read parts of files')
  const { length, offset } = asked
  if (headers['content-encoding'] !== undefined && headers['content-encoding'] !== 'identity')
    throw new FleetError('corrupt', 'changes the encoding of files')
  if (status === 206 && !headers['content-range']?.startsWith(`bytes ${offset}-${offset + length - 1}/`))
    throw new FleetError('corrupt', 'answers with another range than was asked for')
  if (headers['content-length'] !== undefined && headers['content-length'] !== String(length))
    throw new FleetError('corrupt', 'answers with another length than was asked for')
}

/** Weak tags do not promise the same bytes. */
export function strongTag(tag: string | undefined): string | undefined {
  return tag?.startsWith('"') ? tag : undefined
}
