import aws4 from 'aws4'
import { FleetError } from '../../../shared/errors.ts'
import type { S3TargetConfig, TargetSecret } from '../../../shared/target-config.ts'
import { hashOnPool } from '../../native/pool-hash.ts'
import type { Dialer } from '../dial.ts'
import { type HttpAnswer, HttpClient } from '../http-client.ts'
import { joinPath } from '../target-path.ts'
import { s3Error } from './s3-error.ts'

const MAX_ERROR_BYTES = 65_536

export interface S3Request {
  readonly method: string
  /** Below the base; undefined: the bucket itself. */
  readonly path?: string
  readonly query?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Buffer
  /** Of the body, where it is known already. */
  readonly md5?: Buffer
  readonly signal: AbortSignal
}

/** Signed requests (AWS Signature Version 4, by aws4) to one bucket. */
export class S3Client implements Disposable {
  readonly #http: HttpClient
  readonly #config: S3TargetConfig
  readonly #secretAccessKey: string

  constructor(
    config: S3TargetConfig,
    secret: TargetSecret,
    parts: { readonly dialer: Dialer; readonly stallMs: number | undefined },
  ) {
    if (secret.password === undefined)
      throw new FleetError('invalid', 'has no secret access key', { field: 'password' })
    const { port, encrypt, ca, pathStyle, bucket, limits } = config
    const host = pathStyle ? config.host : `${bucket}.${config.host}`
    this.#http = new HttpClient({ ...parts, host, port, encrypt, ca, connections: limits.slots * CONNECTIONS_PER_SLOT })
    this.#config = config
    this.#secretAccessKey = secret.password
  }

  /** The object's key: every path lies below the base. */
  key(path: string): string {
    return joinPath(this.#config.base, path)
  }

  /** Any status is an answer. */
  async send(asked: S3Request): Promise<HttpAnswer> {
    const { bucket, region, accessKeyId, pathStyle } = this.#config
    const key = asked.path === undefined ? '' : this.key(asked.path)
    const path = `/${pathStyle ? `${bucket}/` : ''}${key}`
    const { method, signal, body } = asked
    const sums = await sumsOf(asked)
    const signed = aws4.sign(
      {
        ...{
          service: 's3',
          region,
          method,
          host: this.#http.authority,
          path: encodePath(path) + encodeQuery(asked.query),
        },
        headers: { ...asked.headers, ...sums },
      },
      { accessKeyId, secretAccessKey: this.#secretAccessKey },
    )
    const headers = Object.fromEntries(
      Object.entries(signed.headers ?? {}).map(([name, value]) => [name.toLowerCase(), String(value)]),
    )
    const target = { method, path: signed.path ?? '', headers, signal }
    return this.#http.send(body === undefined ? target : { ...target, body })
  }

  /** @returns an answer with status 2xx. @throws FleetError what another one means */
  async expect(asked: S3Request): Promise<HttpAnswer> {
    const answer = await this.send(asked)
    if (answer.status >= 200 && answer.status < 300) return answer
    throw s3Error(answer.status, await answer.body(MAX_ERROR_BYTES, asked.signal))
  }

  [Symbol.dispose](): void {
    this.#http[Symbol.dispose]()
  }
}
const CONNECTIONS_PER_SLOT = 4

const NOTHING = Buffer.alloc(0)

/** The server computes both again before it takes the body. */
async function sumsOf({ body, md5 }: S3Request): Promise<Readonly<Record<string, string>>> {
  const [sha256, own] = await Promise.all([
    hashOnPool('sha256', body ?? NOTHING),
    body === undefined ? undefined : (md5 ?? hashOnPool('md5', body)),
  ])
  return {
    'X-Amz-Content-Sha256': sha256.toString('hex'),
    ...(own === undefined ? {} : { 'Content-MD5': own.toString('base64') }),
  }
}

/** As S3 canonicalises it: everything but unreserved characters and slashes. */
export function encodePath(path: string): string {
  return path.split('/').map(encode).join('/')
}

function encodeQuery(query: Readonly<Record<string, string>> = {}): string {
  const pairs = Object.entries(query).map(([name, value]) =>
    value === '' ? encode(name) : `${encode(name)}=${encode(value)}`,
  )
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`
}

function encode(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}
