import { FleetError } from '../../../shared/errors.ts'
import type { TargetSecret, WebdavTargetConfig } from '../../../shared/target-config.ts'
import type { Dialer } from '../dial.ts'
import { type HttpAnswer, HttpClient } from '../http-client.ts'
import { statusError } from '../http-status.ts'
import type { HttpUpload } from '../http-upload.ts'
import { encodedPath } from './webdav-paths.ts'

/** The rest of a request, once the path is known. */
export interface DavRequest {
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly signal: AbortSignal
}

/** Requests of one WebDAV account: its base path and its credentials (Basic, RFC 7617). */
export class WebdavClient implements Disposable {
  readonly http: HttpClient
  readonly #base: string
  readonly #authorization: string

  constructor(
    config: WebdavTargetConfig,
    secret: TargetSecret,
    parts: { readonly dialer: Dialer; readonly stallMs: number | undefined },
  ) {
    if (secret.password === undefined) throw new FleetError('invalid', 'has no password', { field: 'password' })
    const { host, port, encrypt, ca, limits } = config
    this.http = new HttpClient({ ...parts, host, port, encrypt, ca, connections: limits.slots + 2 })
    this.#base = config.base
    this.#authorization = `Basic ${Buffer.from(`${config.username}:${secret.password}`).toString('base64')}`
  }

  /** A path that ends in a slash keeps it: some servers want it of directories. */
  path(path: string): string {
    const encoded = encodedPath(this.#base, path)
    return path.endsWith('/') && encoded !== '/' ? `${encoded}/` : encoded
  }

  /** Any status is an answer. */
  send(method: string, path: string, asked: DavRequest): Promise<HttpAnswer> {
    const { body, signal } = asked
    const headers = { authorization: this.#authorization, ...asked.headers }
    return this.http.send({ method, path: this.path(path), headers, signal, ...(body === undefined ? {} : { body }) })
  }

  /** @param expected statuses of success; their bodies are read away. @returns the status */
  async expect(method: string, path: string, asked: DavRequest & { readonly expected: readonly number[] }) {
    const answer = await this.send(method, path, asked)
    await answer.discard(asked.signal)
    if (!asked.expected.includes(answer.status)) throw statusError(answer.status)
    return answer.status
  }

  upload(path: string, sizeBytes: number | undefined, signal: AbortSignal): HttpUpload {
    const headers = { authorization: this.#authorization, 'content-type': 'application/octet-stream' }
    return this.http.upload({ method: 'PUT', path: this.path(path), headers, signal }, sizeBytes)
  }

  [Symbol.dispose](): void {
    this.http[Symbol.dispose]()
  }
}
