import { Agent, type ClientRequest, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http'
import type { Duplex } from 'node:stream'
import { connect as startTls } from 'node:tls'
import { FleetError } from '../../shared/errors.ts'
import type { Dialer } from './dial.ts'
import { BODY_PIECE_BYTES, HttpUpload } from './http-upload.ts'
import { type Patience, patiently, STALL_MS } from './patience.ts'

/** What the system has taken of a long body is still on its way when all was handed over: so many times the usual patience. */
const LONG_BODY_STALLS = 2

export interface HttpClientOptions {
  readonly dialer: Dialer
  readonly host: string
  readonly port: number
  readonly encrypt: boolean
  /** PEM; trusted instead of the public authorities. */
  readonly ca: string | undefined
  readonly connections: number
  readonly stallMs?: number | undefined
}

export interface HttpRequest {
  readonly method: string
  /** Encoded, from the root. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Buffer | string
  readonly signal: AbortSignal
}

/** Connections that were checked and verified, kept alive; one request at a time on each; redirects are answers. */
export class HttpClient implements Disposable {
  readonly #options: HttpClientOptions
  readonly #agent: Agent
  readonly stallMs: number

  constructor(options: HttpClientOptions) {
    this.#options = options
    this.stallMs = options.stallMs ?? STALL_MS
    this.#agent = new Agent({ keepAlive: true, maxSockets: options.connections, maxFreeSockets: 2 })
    // Node's own would resolve names by itself.
    Object.assign(this.#agent, {
      createConnection: (_: unknown, done: (error: unknown, socket?: Duplex) => void) => {
        this.#connect().then((socket) => done(null, socket), done)
      },
    })
  }

  /** `host:port`, without the port that its scheme implies. */
  get authority(): string {
    const { host, port, encrypt } = this.#options
    const bracketed = host.includes(':') ? `[${host}]` : host
    return port === (encrypt ? 443 : 80) ? bracketed : `${bracketed}:${port}`
  }

  get origin(): string {
    return `${this.#options.encrypt ? 'https' : 'http'}://${this.authority}`
  }

  /** @throws FleetError, or the system's error; any status is an answer */
  async send(asked: HttpRequest): Promise<HttpAnswer> {
    const { body, signal } = asked
    const sent = this.#begin(asked, body === undefined ? {} : { 'content-length': Buffer.byteLength(body) })
    const answered = answerOf(sent)
    const giveUp = (reason: FleetError) => void sent.destroy(reason)
    const patience = { signal, stallMs: this.stallMs, giveUp }
    const isLong = typeof body === 'object' && body.length > BODY_PIECE_BYTES
    if (isLong) await sendBody(sent, body, answered, patience)
    else sent.end(body)
    const stalls = isLong ? LONG_BODY_STALLS : 1
    const incoming = await patiently(answered, { ...patience, stallMs: stalls * this.stallMs })
    return new HttpAnswer(incoming, this.stallMs)
  }

  /** A request whose body is written bit by bit. @param sizeBytes undefined: sent in chunks */
  upload(asked: Omit<HttpRequest, 'body'>, sizeBytes: number | undefined): HttpUpload {
    const length: Record<string, string> =
      sizeBytes === undefined ? { 'transfer-encoding': 'chunked' } : { 'content-length': String(sizeBytes) }
    const sent = this.#begin(asked, { ...length, expect: '100-continue' })
    const answer = answerOf(sent).then((incoming) => new HttpAnswer(incoming, this.stallMs))
    return new HttpUpload({ sent, answer, signal: asked.signal, stallMs: this.stallMs })
  }

  [Symbol.dispose](): void {
    this.#agent.destroy()
  }

  #begin(asked: HttpRequest, headers: Readonly<Record<string, string | number>>): ClientRequest {
    if (asked.signal.aborted) throw new FleetError('cancelled', 'cancelled')
    return request({
      agent: this.#agent,
      method: asked.method,
      path: asked.path,
      headers: { host: this.authority, 'user-agent': 'holdfast', ...asked.headers, ...headers },
    })
  }

  async #connect(): Promise<Duplex> {
    const { dialer, host, port, encrypt, ca } = this.#options
    const socket = await dialer.dial({ host, port }, new AbortController().signal)
    if (!encrypt) return socket
    const servername = /^[\d.]+$|:/.test(host) ? {} : { servername: host }
    const secure = startTls({ socket, host, ...servername, minVersion: 'TLSv1.2', ...(ca === undefined ? {} : { ca }) })
    const ready = new Promise<void>((resolve, reject) => {
      secure.once('secureConnect', resolve)
      secure.once('error', reject)
    })
    const giveUp = () => void secure.destroy()
    await patiently(ready, { signal: new AbortController().signal, stallMs: this.stallMs, giveUp })
    return secure
  }
}

/** The whole body must come: one that ends before its declared length is an error, never a short file. */
export class HttpAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly #incoming: IncomingMessage
  readonly #stallMs: number

  constructor(incoming: IncomingMessage, stallMs: number) {
    this.status = incoming.statusCode ?? 0
    this.headers = incoming.headers
    this.#incoming = incoming
    this.#stallMs = stallMs
    incoming.on('error', () => undefined) // whoever reads it is told; nobody reading it is no crash
  }

  async *chunks(signal: AbortSignal): AsyncGenerator<Buffer, void> {
    const incoming = this.#incoming
    const iterator: AsyncIterator<Buffer> = incoming[Symbol.asyncIterator]()
    const giveUp = (reason: FleetError) => void incoming.destroy(reason)
    try {
      for (;;) {
        const { done, value } = await patiently(iterator.next(), { signal, stallMs: this.#stallMs, giveUp })
        if (done) return
        yield value
      }
    } finally {
      if (!incoming.readableEnded) incoming.destroy()
    }
  }

  /** @throws FleetError `too_large` */
  async body(maxBytes: number, signal: AbortSignal): Promise<Buffer> {
    const chunks: Buffer[] = []
    let bytes = 0
    for await (const chunk of this.chunks(signal)) {
      bytes += chunk.length
      if (bytes > maxBytes) throw new FleetError('too_large', 'answers with more than can be read')
      chunks.push(chunk)
    }
    return Buffer.concat(chunks)
  }

  /** Reads a small rest, so that the connection can be used again. */
  async discard(signal: AbortSignal): Promise<void> {
    await this.body(MAX_DISCARDED_BYTES, signal).catch(() => void this.#incoming.destroy())
  }
}
const MAX_DISCARDED_BYTES = 65_536

function answerOf(sent: ClientRequest): Promise<IncomingMessage> {
  const answer = new Promise<IncomingMessage>((resolve, reject) => {
    sent.once('response', resolve)
    sent.on('error', reject)
    sent.once('close', () => reject(new FleetError('unavailable', 'cut the connection')))
  })
  answer.catch(() => undefined) // an upload asks for it late
  return answer
}

/** Piece by piece, as they are taken: however slow the way is, only one that stands still is given up. */
async function sendBody(
  sent: ClientRequest,
  body: Buffer,
  answered: Promise<IncomingMessage>,
  patience: Patience,
): Promise<void> {
  let isAnswered = false
  const answer = answered.then(() => {
    isAnswered = true
  })
  let at = 0
  for (; at + BODY_PIECE_BYTES < body.length && !isAnswered; at += BODY_PIECE_BYTES) {
    const taken = new Promise<void>((resolve) => sent.write(body.subarray(at, at + BODY_PIECE_BYTES), () => resolve()))
    await patiently(Promise.race([taken, answer]), patience)
  }
  sent.end(body.subarray(at))
}
