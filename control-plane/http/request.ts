import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { FleetError } from '../../shared/errors.ts'
import type { Caller } from '../core/caller.ts'
import { namesEtag } from './etag.ts'
import type { HandlerRequest } from './route.ts'

interface Parsed {
  readonly params: unknown
  readonly query: unknown
  readonly body: unknown
  readonly caller: Caller | undefined
  readonly from: HandlerRequest['from']
}

/** One validated request. The signal is made only when a handler asks for it: most reads never do. */
export class ValidatedRequest implements HandlerRequest {
  readonly params: unknown
  readonly query: unknown
  readonly body: unknown
  readonly caller: Caller | undefined
  readonly headers: IncomingHttpHeaders
  readonly from: HandlerRequest['from']
  readonly closing: AbortSignal
  readonly #request: IncomingMessage
  readonly #response: ServerResponse
  #abort: AbortController | undefined

  constructor(
    parsed: Parsed,
    exchange: { readonly request: IncomingMessage; readonly response: ServerResponse; readonly closing: AbortSignal },
  ) {
    this.params = parsed.params
    this.query = parsed.query
    this.body = parsed.body
    this.caller = parsed.caller
    this.from = parsed.from
    this.headers = exchange.request.headers
    this.closing = exchange.closing
    this.#request = exchange.request
    this.#response = exchange.response
  }

  /** Aborts its `signal`, as if the client were gone. */
  end(): void {
    this.#controller().abort()
  }

  /** The same request, made by `caller`. */
  by(caller: Caller): ValidatedRequest {
    const exchange = { request: this.#request, response: this.#response, closing: this.closing }
    return new ValidatedRequest({ ...this, from: this.from, caller }, exchange)
  }

  get ifMatch(): ((etag: string) => boolean) | undefined {
    const header = this.headers['if-match']
    return header === undefined ? undefined : (etag) => namesEtag(header, etag)
  }

  get signal(): AbortSignal {
    return this.#controller().signal
  }

  #controller(): AbortController {
    this.#abort ??= abortOnClose(this.#response, this.closing)
    return this.#abort
  }
}

/** Aborts when the connection ends before the answer was written whole, and when the server stops. */
function abortOnClose(response: ServerResponse, closing: AbortSignal): AbortController {
  const controller = new AbortController()
  const stopping = () =>
    controller.abort(new FleetError('unavailable', 'the server is stopping; what was accepted goes on'))
  if (closing.aborted) stopping()
  else closing.addEventListener('abort', stopping, { once: true })
  const gone = () => {
    closing.removeEventListener('abort', stopping)
    if (!response.writableFinished) controller.abort()
  }
  if (response.destroyed) gone()
  else response.once('close', gone)
  return controller
}
