import type { IncomingMessage, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { FleetError, toFleetError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import { peekBody, peekedBody } from '../http/body.ts'
import type { Destination, Forwarder } from '../http/forward.ts'
import { splitTarget } from '../http/request-target.ts'
import type { CallerTokens } from './caller-tokens.ts'
import { type Behind, behind, hasMember, isAmbiguous } from './destinations.ts'
import { answerOf, type DialTimes, dial } from './dial.ts'
import { headersDown, headersUp } from './headers.ts'

const CONNECT_MS = 5_000
/** Until the answer begins, and between two of its pieces or of the request's. */
const IDLE_MS = 60_000
const CONNECTIONS = 128
/** More at a time are turned away. */
const FORWARDED_MAX = 512

export interface CinderOptions {
  /** Up to the version: `http://cinder:8776/v3`. */
  readonly url: string
  readonly tokens: CallerTokens
  /** Headers that proxies in front of us speak for their clients in. */
  readonly privateHeaders?: readonly string[]
  readonly logger: Logger
  readonly times?: DialTimes
}

/** A Cinder that answers for block storage: what is not ours goes there as it came, under the caller's own token. */
export function createCinder(options: CinderOptions): Forwarder & { close(): void } {
  const { url, tokens, logger, times = { connectMs: CONNECT_MS, idleMs: IDLE_MS } } = options
  const { base, open, close } = dial(url, CONNECTIONS, times)
  const privateHeaders = new Set((options.privateHeaders ?? []).map((name) => name.toLowerCase()))
  let forwarded = 0

  /** The caller's token for that service. @throws unauthorized without one, and for one of ours: it must not learn those. */
  async function tokenOf({ headers }: IncomingMessage): Promise<string> {
    const token = headers['x-auth-token']
    if (typeof token !== 'string' || token === '') {
      throw new FleetError('unauthorized', 'the block service behind this one wants a token of its own in X-Auth-Token')
    }
    if (!(await tokens.isOurs(token))) return token
    throw new FleetError('unauthorized', 'the block service behind this one wants a token of its own, not one of ours')
  }

  async function pathOf(request: IncomingMessage, found: Behind): Promise<string> {
    const token = await tokenOf(request)
    return found.isOfProject ? `${await tokens.projectOf(token)}/${found.path}` : found.path
  }

  return {
    async destination(request) {
      const { path } = splitTarget(request.url)
      const found = behind(request.method ?? '', path)
      if (found === undefined) return undefined
      if (isAmbiguous(path)) throw new FleetError('invalid', 'the path must be in its plain form', { field: 'path' })
      if (found.oursWith !== undefined && hasMember(await peekBody(request), found.oursWith)) return undefined
      const target = request.url ?? ''
      const query = target.includes('?') ? target.slice(target.indexOf('?')) : ''
      return { route: found.route, url: new URL(`${base.href}${await pathOf(request, found)}${query}`) }
    },

    async send(request, response, to) {
      if (forwarded >= FORWARDED_MAX) throw new FleetError('busy', 'too many requests are being forwarded')
      forwarded += 1
      try {
        await exchange(request, response, to)
      } finally {
        forwarded -= 1
      }
    },

    close,
  }

  async function exchange(request: IncomingMessage, response: ServerResponse, to: Destination): Promise<void> {
    const headers = headersUp(request.headers, privateHeaders)
    const peeked = peekedBody(request)
    if (peeked !== undefined) headers['content-length'] = peeked.length
    const up = open(to.url, { method: request.method, headers })
    const gone = () => up.destroy()
    response.once('close', gone)
    try {
      const answered = answerOf(up)
      // The answer may come before the body has gone up; what breaks there breaks the answer too.
      const sent = peeked === undefined ? pipeline(request, up) : Promise.resolve(void up.end(peeked))
      sent.catch((error: unknown) => up.destroy(error instanceof Error ? error : undefined))
      const answer = await answered
      response.writeHead(answer.statusCode ?? 502, headersDown(answer.headers))
      // An answer that is cut there is cut here too: whoever counts its bytes sees it.
      await pipeline(answer, response).catch((error: unknown) => {
        logger.debug({ event: 'forward.broken', route: to.route, err: toFleetError(error) })
        response.destroy()
      })
    } finally {
      response.off('close', gone)
      up.destroy()
    }
  }
}
