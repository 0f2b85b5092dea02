import type { IncomingMessage, ServerResponse } from 'node:http'

/** Where a request goes that another service answers. */
export interface Destination {
  /** As it is logged and counted: without anything of the request's own. */
  readonly route: string
  readonly url: URL
}

/** Another service behind this listener. */
export interface Forwarder {
  /**
   * Undefined: the request is ours to answer. May read the body (`peekBody`).
   * @throws unauthorized (ours are no credentials there), invalid, too_large, unavailable.
   */
  destination(request: IncomingMessage): Promise<Destination | undefined>
  /** Resolves when the answer has ended, however it did. @throws before its first byte only: unavailable, timeout, busy, invalid. */
  send(request: IncomingMessage, response: ServerResponse, to: Destination): Promise<void>
}
