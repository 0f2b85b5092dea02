import { statusError } from '../http-status.ts'
import type { HttpUpload } from '../http-upload.ts'
import type { Upload, UploadOptions, Watch } from '../transfer.ts'
import type { WebdavClient } from './webdav-client.ts'

/** Servers copy and sync a large file before they answer: they are given so many times the usual patience. */
const FINISH_STALLS = 6
const DISCARD_MS = 5_000

interface Parts {
  readonly client: WebdavClient
  readonly sent: HttpUpload
  readonly path: string
  readonly options: UploadOptions
}

/** One step on the server (RFC 4918 §9.9). @throws FleetError `exists` unless `replace` */
export async function move(
  client: WebdavClient,
  names: { readonly from: string; readonly to: string },
  options: Watch & { readonly replace: boolean },
): Promise<void> {
  const destination = `${client.http.origin}${client.path(names.to)}`
  const headers = { destination, overwrite: options.replace ? 'T' : 'F' }
  await client.expect('MOVE', names.from, { signal: options.signal, headers, expected: [201, 204] })
}

/** One PUT to the partial name; a cut one is begun anew, as the protocol knows no way to go on. */
export class WebdavUpload implements Upload {
  readonly readable = true
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  write(chunk: Buffer): Promise<void> {
    return this.#parts.sent.write(chunk)
  }

  async close(): Promise<void> {
    const answer = await this.#parts.sent.end(FINISH_STALLS * this.#parts.client.http.stallMs)
    await answer.discard(this.#parts.options.signal)
    if (![200, 201, 204].includes(answer.status)) throw statusError(answer.status)
  }

  async publish(): Promise<{ readonly checksum: boolean }> {
    const { client, options, path } = this.#parts
    await move(client, { from: options.partialPath, to: path }, options)
    return { checksum: false }
  }

  async discard(): Promise<void> {
    const { client, sent, options } = this.#parts
    sent.destroy()
    const signal = AbortSignal.timeout(DISCARD_MS)
    await client.expect('DELETE', options.partialPath, { signal, expected: [200, 204, 404] })
  }
}
