import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { z } from 'zod'
import { type ErrorCode, FleetError } from '../../../shared/errors.ts'
import { errorCodeOf } from '../../native/system-error.ts'

/** The newest version of the API that this was written for (Docker 25); an engine that knows less is asked in its own. */
const NEWEST: Version = [1, 44]
/** Docker 19.03, Podman 3: what is used here has been there since. */
const OLDEST: Version = [1, 40]
const MAX_ANSWER_BYTES = 16 * 2 ** 20
const MAX_FAILURE_BYTES = 65_536
const DEFAULT_TIMEOUT_MS = 30_000
/** A stream without a byte for so long is given up. */
const STALL_MS = 60_000
const CONNECTIONS = 16

type Version = readonly [major: number, minor: number]

export interface EngineRequest {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** From the API's root, encoded. */
  readonly path: string
  readonly query?: Readonly<Record<string, string>>
  /** Sent as JSON, or as they come. */
  readonly body?: object | AsyncIterable<Buffer>
  readonly signal: AbortSignal
  /** Until the whole answer is there; of streams: without a byte. */
  readonly timeoutMs?: number
}

/**
 * A container engine behind Docker's API on its Unix socket.
 * @throws FleetError `unavailable` when nobody listens or the API is none we know, `timeout`, `too_large`; by status `not_found` (404),
 * `conflict` (409), `internal` (the rest). 304 is an answer: it is so already. The engine's own words are `detail`.
 */
export interface EngineClient {
  json<Value>(asked: EngineRequest, schema: z.ZodType<Value>): Promise<Value>
  /** For what answers with nothing of interest. */
  act(asked: EngineRequest): Promise<void>
  stream(asked: EngineRequest): AsyncGenerator<Buffer, void>
}

const VersionAnswer = z.looseObject({ ApiVersion: z.string(), MinAPIVersion: z.string().optional() })
const Failure = z.looseObject({ message: z.string() })

export function createEngineClient(socketPath: string): EngineClient {
  // Engines that systemd starts for a call end when they are idle: a kept connection would be cut under an order.
  const agent = new Agent({ keepAlive: false, maxSockets: CONNECTIONS })
  let version: string | undefined

  /** @returns an answer of a status below 400 */
  const send = async (asked: EngineRequest, root: string, signal: AbortSignal): Promise<IncomingMessage> => {
    const query = asked.query === undefined ? '' : `?${new URLSearchParams({ ...asked.query })}`
    const { body } = asked
    const stream = body !== undefined && Symbol.asyncIterator in body ? body : undefined
    const text = body === undefined || stream !== undefined ? undefined : JSON.stringify(body)
    const type = stream === undefined ? 'application/json' : 'application/x-tar'
    const sent = request({
      socketPath,
      agent,
      signal,
      method: asked.method,
      path: `${root}${asked.path}${query}`,
      headers: { host: 'engine', ...(body === undefined ? {} : { 'content-type': type }) },
    })
    const answered = answerOf(sent)
    if (stream === undefined) sent.end(text)
    else await Promise.race([answered, sendAll(stream, sent)])
    const answer = await answered
    if ((answer.statusCode ?? 0) >= 400) throw await failureOf(answer)
    return answer
  }
  const guarded = async <Value>(asked: EngineRequest, use: (signal: AbortSignal, root: string) => Promise<Value>) => {
    const signal = AbortSignal.any([asked.signal, AbortSignal.timeout(asked.timeoutMs ?? DEFAULT_TIMEOUT_MS)])
    try {
      version ??= await negotiate(signal)
      return await use(signal, version)
    } catch (thrown) {
      throw asEngineError(thrown, asked.signal, signal)
    }
  }
  const negotiate = async (signal: AbortSignal): Promise<string> => {
    const answer = await send({ method: 'GET', path: '/version', signal }, '', signal)
    return chooseVersion(parseAs(await bodyOf(answer, MAX_ANSWER_BYTES), VersionAnswer))
  }
  return {
    json: (asked, schema) =>
      guarded(asked, async (signal, root) =>
        parseAs(await bodyOf(await send(asked, root, signal), MAX_ANSWER_BYTES), schema),
      ),
    act: (asked) =>
      guarded(asked, async (signal, root) => void (await bodyOf(await send(asked, root, signal), MAX_ANSWER_BYTES))),
    async *stream(asked) {
      const stop = new AbortController()
      const signal = AbortSignal.any([asked.signal, stop.signal])
      const stalled = setTimeout(
        () => stop.abort(new DOMException('stalled', 'TimeoutError')),
        asked.timeoutMs ?? STALL_MS,
      )
      try {
        const root = await guarded({ ...asked, signal }, async (_, version) => version)
        for await (const chunk of await send(asked, root, signal)) {
          stalled.refresh()
          yield chunk
          stalled.refresh() // how long the taker took is not the engine's fault
        }
      } catch (thrown) {
        throw asEngineError(thrown, asked.signal, signal)
      } finally {
        clearTimeout(stalled)
        stop.abort() // a taker that stopped early wants no more of it
      }
    },
  }
}

/** A refusal may come before the whole body is sent; then the rest of it is nobody's. */
function sendAll(body: AsyncIterable<Buffer>, sent: ClientRequest): Promise<void> {
  const sending = pipeline(Readable.from(body), sent)
  sending.catch(() => undefined)
  return sending
}

function answerOf(sent: ClientRequest): Promise<IncomingMessage> {
  const answer = new Promise<IncomingMessage>((resolve, reject) => {
    sent.once('response', resolve)
    sent.on('error', reject)
  })
  answer.catch(() => undefined) // a body that fails first is thrown instead
  return answer
}

async function bodyOf(answer: IncomingMessage, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > maxBytes) throw new FleetError('too_large', 'the container engine answers with more than can be read')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

function parseAs<Value>(text: string, schema: z.ZodType<Value>): Value {
  try {
    return schema.parse(JSON.parse(text))
  } catch (cause) {
    throw new FleetError('unavailable', 'the container engine answers with what is not Docker’s API', { cause })
  }
}

const MEANINGS: Readonly<Record<number, readonly [code: ErrorCode, message: string]>> = {
  404: ['not_found', 'the container engine has no such thing'],
  409: ['conflict', 'the container engine refuses it in this state'],
}

async function failureOf(answer: IncomingMessage): Promise<FleetError> {
  const status = answer.statusCode ?? 0
  const text = await bodyOf(answer, MAX_FAILURE_BYTES).catch(() => '')
  const [code, message] = MEANINGS[status] ?? ['internal', `the container engine failed with ${status}`]
  return new FleetError(code, message, { detail: messageIn(text) })
}

function messageIn(text: string): string {
  try {
    return Failure.parse(JSON.parse(text)).message
  } catch {
    return text.slice(0, 2_000)
  }
}

function asEngineError(thrown: unknown, asked: AbortSignal, guarded: AbortSignal): unknown {
  if (thrown instanceof FleetError) return thrown
  if (asked.aborted) return new FleetError('cancelled', 'cancelled', { cause: thrown })
  if (guarded.aborted) return new FleetError('timeout', 'the container engine stopped answering', { cause: thrown })
  const code = errorCodeOf(thrown)
  if (code === undefined) return thrown
  return new FleetError('unavailable', 'the container engine cannot be reached', { cause: thrown, detail: code })
}

/** The newest version that both sides know, as a path. @throws unavailable when there is none */
function chooseVersion(told: z.infer<typeof VersionAnswer>): string {
  const theirs = versionOf(told.ApiVersion)
  const oldest = versionOf(told.MinAPIVersion ?? '')
  if (theirs === undefined || compare(theirs, OLDEST) < 0 || (oldest !== undefined && compare(oldest, NEWEST) > 0)) {
    throw new FleetError('unavailable', 'the container engine speaks another version', { detail: told.ApiVersion })
  }
  return `/v${(compare(theirs, NEWEST) < 0 ? theirs : NEWEST).join('.')}`
}

function versionOf(text: string): Version | undefined {
  const [, major, minor] = /^(\d{1,3})\.(\d{1,3})$/.exec(text) ?? []
  return major === undefined || minor === undefined ? undefined : [Number(major), Number(minor)]
}

function compare([major, minor]: Version, [otherMajor, otherMinor]: Version): number {
  return major - otherMajor || minor - otherMinor
}
