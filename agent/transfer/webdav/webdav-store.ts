import { FleetError } from '../../../shared/errors.ts'
import type { TargetSecret, WebdavTargetConfig } from '../../../shared/target-config.ts'
import type { Dialer } from '../dial.ts'
import { rangedFile, strongTag } from '../http-range.ts'
import { statusError } from '../http-status.ts'
import { Listing } from '../listing.ts'
import { segmentsOf } from '../target-path.ts'
import type { Entry, FreeSpace, Page, Store, StoreFile, Upload, UploadOptions, Watch } from '../transfer.ts'
import { type DavProperties, PROPFIND_BODY, QUOTA_BODY, readPropfind } from './propfind.ts'
import { WebdavClient } from './webdav-client.ts'
import { childName } from './webdav-paths.ts'
import { move, WebdavUpload } from './webdav-upload.ts'

const XML = { 'content-type': 'application/xml; charset=utf-8' }

/** A WebDAV server (RFC 4918): PUT beside, MOVE to publish, ranges to read, PROPFIND to list, quotas by RFC 4331. */
export async function openWebdavStore(
  config: WebdavTargetConfig,
  secret: TargetSecret,
  parts: { readonly dialer: Dialer; readonly stallMs: number | undefined },
): Promise<Store> {
  return new WebdavStore(new WebdavClient(config, secret, parts))
}

class WebdavStore implements Store {
  readonly features = { renameDirectory: true, refusesFullDirectory: false }
  readonly #client: WebdavClient

  constructor(client: WebdavClient) {
    this.#client = client
  }

  async upload(path: string, options: UploadOptions): Promise<Upload> {
    const sent = this.#client.upload(options.partialPath, options.sizeBytes, options.signal)
    const upload = new WebdavUpload({ client: this.#client, sent, path, options })
    await sent.ready()
    return upload
  }

  async open(path: string, { signal }: Watch): Promise<StoreFile> {
    const answer = await this.#client.send('HEAD', path, { signal })
    await answer.discard(signal)
    if (answer.status !== 200) throw statusError(answer.status)
    const length = answer.headers['content-length']
    const sizeBytes = length === undefined ? (await this.stat(path, { signal }))?.sizeBytes : Number(length)
    if (sizeBytes === undefined) throw new FleetError('not_found', 'no such file or directory')
    return rangedFile({ sizeBytes, entityTag: strongTag(answer.headers.etag) }, (asked) =>
      this.#client.send('GET', path, asked),
    )
  }

  async list(path: string, { signal, cursor }: Watch & { readonly cursor: string | undefined }): Promise<Page> {
    const listing = new Listing()
    const directory = this.#client.path(path)
    let itself = false
    await this.#propfind(`${path}/`, { signal, depth: 1, body: PROPFIND_BODY }, (found) => {
      const name = childName(directory, found.href)
      if (name === '') itself ||= found.directory
      else if (name !== undefined) listing.add(entryOf(name, found))
    })
    if (!itself) throw new FleetError('not_found', 'no such directory')
    return listing.page(cursor)
  }

  async stat(path: string, { signal }: Watch): Promise<Entry | undefined> {
    try {
      let entry: Entry | undefined
      await this.#propfind(path, { signal, depth: 0, body: PROPFIND_BODY }, (found) => {
        entry = entryOf(segmentsOf(path).at(-1) ?? '', found)
      })
      return entry
    } catch (error) {
      if (error instanceof FleetError && error.code === 'not_found') return undefined
      throw error
    }
  }

  async remove(path: string, watch: Watch): Promise<void> {
    const entry = await this.stat(path, watch)
    if (entry === undefined) return
    // DELETE of a directory takes all that is in it along.
    if (entry.kind === 'directory' && (await this.list(path, { ...watch, cursor: undefined })).entries.length > 0)
      throw new FleetError('conflict', 'the directory is not empty')
    await this.#client.expect('DELETE', spelled(path, entry), { ...watch, expected: [200, 202, 204, 404] })
  }

  async rename(from: string, to: string, options: Watch & { readonly replace: boolean }): Promise<void> {
    const entry = await this.stat(from, options)
    if (entry === undefined) throw new FleetError('not_found', 'no such file or directory')
    await move(this.#client, { from: spelled(from, entry), to: spelled(to, entry) }, options)
  }

  async mkdir(path: string, watch: Watch): Promise<void> {
    // 405: something of that name is there (RFC 4918 §9.3.1).
    const status = await this.#client.expect('MKCOL', `${path}/`, { ...watch, expected: [201, 405] })
    if (status === 405 && (await this.stat(path, watch))?.kind !== 'directory')
      throw new FleetError('exists', 'a file is in the place of a directory')
  }

  async ping(watch: Watch): Promise<void> {
    if ((await this.stat('', watch))?.kind !== 'directory')
      throw new FleetError('not_found', 'has no such base directory')
  }

  async free({ signal }: Watch): Promise<FreeSpace | undefined> {
    let free: FreeSpace | undefined
    await this.#propfind('', { signal, depth: 0, body: QUOTA_BODY }, ({ availableBytes, usedBytes }) => {
      if (availableBytes === undefined) return
      const totalBytes = usedBytes === undefined ? undefined : availableBytes + usedBytes
      free = { freeBytes: availableBytes, totalBytes }
    })
    return free
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client[Symbol.dispose]()
  }

  async #propfind(
    path: string,
    asked: Watch & { readonly depth: 0 | 1; readonly body: string },
    each: (found: DavProperties) => void,
  ): Promise<void> {
    const { signal, depth, body } = asked
    const headers = { depth: String(depth), ...XML }
    const answer = await this.#client.send('PROPFIND', path, { signal, headers, body })
    if (answer.status !== 207) {
      await answer.discard(signal)
      throw statusError(answer.status === 200 ? 405 : answer.status)
    }
    await readPropfind(answer.chunks(signal), each)
  }
}

/** Some servers want directories with a slash at the end. */
function spelled(path: string, { kind }: Entry): string {
  return kind === 'directory' ? `${path}/` : path
}

function entryOf(name: string, { directory, sizeBytes, modifiedAt }: DavProperties): Entry {
  return { name, kind: directory ? 'directory' : 'file', sizeBytes: directory ? 0 : sizeBytes, modifiedAt }
}
