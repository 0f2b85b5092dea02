import { FleetError } from '../../../shared/errors.ts'
import type { S3TargetConfig, TargetSecret } from '../../../shared/target-config.ts'
import type { Dialer } from '../dial.ts'
import { rangedFile, strongTag } from '../http-range.ts'
import { statusError } from '../http-status.ts'
import type { RetryPolicy } from '../retry.ts'
import { segmentsOf } from '../target-path.ts'
import type { Entry, Page, Store, StoreFile, Upload, UploadOptions, Watch } from '../transfer.ts'
import { encodePath, S3Client } from './s3-client.ts'
import { copyObject } from './s3-copy.ts'
import { readMultiparts, readObjects } from './s3-listing.ts'
import { S3Upload } from './s3-upload.ts'

interface Parts {
  readonly dialer: Dialer
  readonly policy: RetryPolicy
  readonly stallMs: number | undefined
}

/** A bucket of an S3 service. Directories are what lies in front of a slash in a key: they need not be made and end with their files. */
export async function openS3Store(config: S3TargetConfig, secret: TargetSecret, parts: Parts): Promise<Store> {
  return new S3Store(new S3Client(config, secret, parts), config, parts.policy)
}

class S3Store implements Store {
  readonly features = { renameDirectory: false, refusesFullDirectory: false }
  readonly #client: S3Client
  readonly #config: S3TargetConfig
  readonly #policy: RetryPolicy

  constructor(client: S3Client, config: S3TargetConfig, policy: RetryPolicy) {
    this.#client = client
    this.#config = config
    this.#policy = policy
  }

  async upload(path: string, options: UploadOptions): Promise<Upload> {
    return new S3Upload({ client: this.#client, policy: this.#policy, path, options, name: this.#config.name })
  }

  async open(path: string, { signal }: Watch): Promise<StoreFile> {
    const { sizeBytes, entityTag } = await this.#head(path, signal)
    return rangedFile({ sizeBytes, entityTag }, ({ headers, signal }) =>
      this.#client.send({ method: 'GET', path, headers, signal }),
    )
  }

  async list(path: string, { signal, cursor }: Watch & { readonly cursor: string | undefined }): Promise<Page> {
    const key = this.#client.key(path)
    const prefix = key === '' ? '' : `${key}/`
    const query = {
      ...{ 'list-type': '2', delimiter: '/', prefix },
      ...(cursor === undefined ? {} : { 'continuation-token': cursor }),
    }
    const answer = await this.#client.expect({ method: 'GET', query, signal })
    return readObjects(answer.chunks(signal), prefix)
  }

  async stat(path: string, { signal }: Watch): Promise<Entry | undefined> {
    const name = segmentsOf(path).at(-1) ?? ''
    try {
      if (name === '') return { name, kind: 'directory', sizeBytes: 0, modifiedAt: undefined }
      const { sizeBytes, modifiedAt } = await this.#head(path, signal)
      return { name, kind: 'file', sizeBytes, modifiedAt }
    } catch (error) {
      if (!(error instanceof FleetError) || error.code !== 'not_found') throw error
      const page = await this.list(path, { signal, cursor: undefined })
      return page.entries.length === 0 ? undefined : { name, kind: 'directory', sizeBytes: 0, modifiedAt: undefined }
    }
  }

  async remove(path: string, { signal }: Watch): Promise<void> {
    const answer = await this.#client.send({ method: 'DELETE', path, signal })
    await answer.discard(signal)
    if (answer.status !== 404 && (answer.status < 200 || answer.status >= 300)) throw statusError(answer.status)
  }

  /** A copy and a removal: an interruption leaves both names. */
  async rename(from: string, to: string, options: Watch & { readonly replace: boolean }): Promise<void> {
    const { signal, replace } = options
    const source = await this.stat(from, options)
    if (source === undefined) throw new FleetError('not_found', 'no such file or directory')
    if (source.kind === 'directory') throw new FleetError('invalid', 'cannot rename a directory in one step')
    if (!replace && (await this.stat(to, options)) !== undefined)
      throw new FleetError('exists', 'the destination exists already')
    const name = encodePath(`/${this.#config.bucket}/${this.#client.key(from)}`)
    await copyObject(this.#client, { source: name, sizeBytes: source.sizeBytes, to }, signal)
    await this.remove(from, options)
  }

  async mkdir(): Promise<void> {}

  async ping({ signal }: Watch): Promise<void> {
    const answer = await this.#client.expect({ method: 'GET', query: { 'list-type': '2', 'max-keys': '1' }, signal })
    await answer.discard(signal)
  }

  async free(): Promise<undefined> {
    return undefined
  }

  async sweepHidden(path: string, { signal, before }: Watch & { readonly before: Date }): Promise<number> {
    const key = this.#client.key(path)
    const prefix = key === '' ? '' : `${key}/`
    const answer = await this.#client.expect({ method: 'GET', query: { uploads: '', prefix }, signal })
    const stale = (await readMultiparts(answer.chunks(signal))).filter(
      (upload) => upload.key.startsWith(prefix) && upload.begunAt !== undefined && upload.begunAt < before,
    )
    const base = this.#client.key('')
    for (const { key, uploadId } of stale) {
      const inner = base === '' ? key : key.slice(base.length + 1)
      const ended = await this.#client.send({ method: 'DELETE', path: inner, query: { uploadId }, signal })
      await ended.discard(signal)
    }
    return stale.length
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client[Symbol.dispose]()
  }

  async #head(path: string, signal: AbortSignal) {
    const answer = await this.#client.send({ method: 'HEAD', path, signal })
    await answer.discard(signal)
    if (answer.status !== 200) throw statusError(answer.status)
    const sizeBytes = Number(answer.headers['content-length'])
    const modified = new Date(answer.headers['last-modified'] ?? Number.NaN)
    if (!Number.isSafeInteger(sizeBytes)) throw new FleetError('internal', 'does not tell how long a file is')
    return {
      sizeBytes,
      entityTag: strongTag(answer.headers.etag),
      modifiedAt: Number.isNaN(modified.getTime()) ? undefined : modified,
    }
  }
}
