import type { ClientRequest, IncomingMessage } from 'node:http'
import { z } from 'zod'
import { type ErrorCode, FleetError } from '../../shared/errors.ts'
import { answerOf, type Dialled } from './dial.ts'

/** Of a request and its answer together: a connection is made in that service before it answers. */
const WHOLE_MS = 90_000
const BODY_MAX_BYTES = 8 << 20
/** With what `revert` needs. Source: Block Storage API v3, microversions. */
const MICROVERSION = 'volume 3.40'
const TEXT_MAX = 300

export interface BlockRequest {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** Below the project, without a leading slash; each segment encoded. */
  readonly path: string
  readonly query?: Readonly<Record<string, string>>
  readonly body?: unknown
}

export interface BlockHttp {
  /**
   * One request under a token. @returns the answer's JSON; undefined where it has none
   * @throws unauthorized (the token), forbidden, not_found, invalid (what was asked of it), conflict (a state), no_space (a quota), busy,
   * unavailable. With that service's own words where it has any.
   */
  ask(as: { readonly token: string; readonly project: string }, request: BlockRequest): Promise<unknown>
}

const CODES: Readonly<Record<number, ErrorCode>> = {
  400: 'invalid',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not_found',
  409: 'conflict',
  413: 'no_space',
  429: 'busy',
}

/** `{"badRequest": {"code": 400, "message": …}}`, whatever the member is called. */
const Fault = z.record(z.string(), z.object({ message: z.string() }))

export function createBlockHttp({ base, open }: Pick<Dialled, 'base' | 'open'>): BlockHttp {
  return {
    async ask({ token, project }, { method, path, query = {}, body }) {
      const url = new URL(`${base.href}${encodeURIComponent(project)}/${path}`)
      for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
      const text = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
      const headers = {
        ...{ 'x-auth-token': token, accept: 'application/json', 'openstack-api-version': MICROVERSION },
        ...(text === undefined ? {} : { 'content-type': 'application/json', 'content-length': text.length }),
      }
      return exchange(open(url, { method, headers }), text)
    },
  }
}

async function exchange(up: ClientRequest, body: Buffer | undefined): Promise<unknown> {
  const late = setTimeout(() => up.destroy(unavailable('does not end its answer')), WHOLE_MS)
  try {
    const answered = answerOf(up)
    up.end(body)
    const answer = await answered
    const told = await read(answer)
    const { statusCode = 500 } = answer
    if (statusCode < 300) return told
    throw faultOf(statusCode, told)
  } finally {
    clearTimeout(late)
    up.destroy()
  }
}

/** @returns undefined for what is no JSON. @throws unavailable: it breaks off, or never ends */
async function read(answer: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    // as: no encoding was set, so it yields bytes
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes > BODY_MAX_BYTES) throw unavailable('answers more than can be meant')
      chunks.push(chunk)
    }
  } catch (cause) {
    throw cause instanceof FleetError ? cause : unavailable('broke its answer off', cause)
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch {
    return undefined
  }
}

function faultOf(status: number, told: unknown): FleetError {
  const parsed = Fault.safeParse(told)
  const [fault] = parsed.success ? Object.values(parsed.data) : []
  const words = fault === undefined ? '' : `: ${fault.message.slice(0, TEXT_MAX)}`
  const code = CODES[status] ?? (status >= 500 ? 'unavailable' : 'invalid')
  return new FleetError(code, `the block service behind this one answered ${status}${words}`)
}

function unavailable(what: string, cause?: unknown): FleetError {
  return new FleetError('unavailable', `the block service behind this one ${what}`, { cause })
}
