import { FleetError } from '../../../shared/errors.ts'
import { hashOnPool } from '../../native/pool-hash.ts'
import { statusError } from '../http-status.ts'
import { type RetryPolicy, retry } from '../retry.ts'
import type { Upload, UploadOptions } from '../transfer.ts'
import { asTransferError } from '../transfer-error.ts'
import { MAX_BUFFERED_BYTES, partSize } from './part-size.ts'
import type { S3Client } from './s3-client.ts'
import { s3Error } from './s3-error.ts'
import { readMember } from './s3-listing.ts'

const DISCARD_MS = 5_000
const MAX_ANSWER_BYTES = 65_536
const NOTHING = Buffer.alloc(0)

interface Parts {
  readonly client: S3Client
  readonly policy: RetryPolicy
  readonly path: string
  readonly options: UploadOptions
  readonly name: string
}

/**
 * Parts are gathered in memory and sent side by side; each is tried again by itself, and the server checks its MD5 and SHA-256.
 * What fits one part is one PUT. Nothing can be seen of it before it is published.
 */
export class S3Upload implements Upload {
  readonly readable = false
  readonly #parts: Parts
  /** The part being filled. */
  #part: Buffer = NOTHING
  #filledBytes = 0
  /** Parts that were sent, to be filled again: memory of this size is slow to be given back. */
  readonly #spare: Buffer[] = []
  #buffered = 0
  /** Of MD5, by part. */
  readonly #sums: Buffer[] = []
  #begun = 0
  readonly #sending = new Set<Promise<void>>()
  #failure: unknown
  #uploadId: string | undefined
  readonly #stop = new AbortController()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  async write(chunk: Buffer): Promise<void> {
    for (let rest = chunk; rest.length > 0; ) {
      if (this.#part.length === 0) this.#part = this.#emptyPart()
      const takenBytes = rest.copy(this.#part, this.#filledBytes)
      rest = rest.subarray(takenBytes)
      this.#filledBytes += takenBytes
      if (this.#filledBytes === this.#part.length) await this.#sendPart()
    }
  }

  async close(): Promise<void> {
    if (this.#begun > 0 && this.#filledBytes > 0) await this.#sendPart()
    await Promise.all(this.#sending)
    this.#check()
  }

  async publish(): Promise<{ readonly checksum: boolean }> {
    const { client, path, options } = this.#parts
    if (!options.replace) await this.#requireAbsent()
    if (this.#uploadId !== undefined) return { checksum: await this.#complete(this.#uploadId) }
    const body = this.#part.subarray(0, this.#filledBytes)
    const answer = await client.expect({ method: 'PUT', path, body, signal: options.signal })
    await answer.discard(options.signal)
    return { checksum: true } // it refuses a body whose MD5 or SHA-256 is another
  }

  async discard(): Promise<void> {
    this.#stop.abort()
    this.#part = NOTHING
    await Promise.allSettled(this.#sending)
    if (this.#uploadId === undefined) return
    const { client, path } = this.#parts
    const signal = AbortSignal.timeout(DISCARD_MS)
    const answer = await client.expect({ method: 'DELETE', path, query: { uploadId: this.#uploadId }, signal })
    await answer.discard(signal)
  }

  #partBytes(): number {
    const bytes = partSize(this.#begun + 1)
    if (bytes === undefined) throw new FleetError('too_large', 'does not take files of this size')
    return bytes
  }

  #emptyPart(): Buffer {
    const bytes = this.#partBytes()
    const spare = this.#spare.pop()
    return spare?.length === bytes ? spare : Buffer.allocUnsafeSlow(bytes)
  }

  async #sendPart(): Promise<void> {
    this.#uploadId ??= await this.#begin()
    const part = this.#part
    const body = part.subarray(0, this.#filledBytes)
    this.#part = NOTHING
    this.#filledBytes = 0
    this.#begun += 1
    this.#buffered += body.length
    const sending = this.#put(this.#begun, body)
      .then(() => void this.#spare.push(part))
      .catch((error: unknown) => {
        this.#failure ??= error
      })
      .finally(() => {
        this.#buffered -= body.length
        this.#sending.delete(sending)
      })
    this.#sending.add(sending)
    while (this.#sending.size > 0 && this.#buffered + this.#partBytes() > MAX_BUFFERED_BYTES) {
      await Promise.race(this.#sending)
    }
    this.#check()
  }

  async #begin(): Promise<string> {
    const { client, path, options } = this.#parts
    return this.#try(async () => {
      const answer = await client.expect({ method: 'POST', path, query: { uploads: '' }, signal: options.signal })
      const uploadId = await readMember(answer.chunks(options.signal), 'UploadId')
      if (uploadId === undefined) throw new FleetError('internal', 'gives an answer that is not understood')
      return uploadId
    })
  }

  async #put(number: number, body: Buffer): Promise<void> {
    const { client, path, options } = this.#parts
    const md5 = await hashOnPool('md5', body)
    this.#sums[number - 1] = md5
    const signal = AbortSignal.any([options.signal, this.#stop.signal])
    const query = { partNumber: String(number), uploadId: this.#uploadId ?? '' }
    await this.#try(async () => {
      const answer = await client.expect({ method: 'PUT', path, query, body, md5, signal })
      await answer.discard(signal)
    })
  }

  /** @returns whether the server's checksum of the whole is ours: the MD5 of the parts' MD5s, as S3 forms it */
  async #complete(uploadId: string): Promise<boolean> {
    const { client, path, options } = this.#parts
    const tags = this.#sums.map(
      (sum, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>"${sum.toString('hex')}"</ETag></Part>`,
    )
    const body = Buffer.from(`<CompleteMultipartUpload>${tags.join('')}</CompleteMultipartUpload>`)
    const answer = await client.expect({ method: 'POST', path, query: { uploadId }, body, signal: options.signal })
    const text = await answer.body(MAX_ANSWER_BYTES, options.signal)
    // A failure may come after the status was sent (CompleteMultipartUpload, "200 OK that contains an error").
    if (text.includes('<Error>')) throw s3Error(500, text)
    const tag = await readMember(inOne(text), 'ETag')
    const expected = `${(await hashOnPool('md5', Buffer.concat(this.#sums))).toString('hex')}-${this.#sums.length}`
    return tag?.replaceAll('"', '') === expected
  }

  /** Not one step with what follows: S3 in general has no publishing that fails where a key exists. */
  async #requireAbsent(): Promise<void> {
    const { client, path, options } = this.#parts
    const answer = await client.send({ method: 'HEAD', path, signal: options.signal })
    await answer.discard(options.signal)
    if (answer.status === 200) throw new FleetError('exists', 'the destination exists already')
    if (answer.status !== 404) throw statusError(answer.status)
  }

  #try<Result>(work: () => Promise<Result>): Promise<Result> {
    const { policy, options, name } = this.#parts
    const signal = AbortSignal.any([options.signal, this.#stop.signal])
    return retry(policy, signal, async () => {
      try {
        return await work()
      } catch (error) {
        throw asTransferError(error, name)
      }
    })
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure
  }
}

async function* inOne(bytes: Buffer): AsyncGenerator<Buffer, void> {
  yield bytes
}
