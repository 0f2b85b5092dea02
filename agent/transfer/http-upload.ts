import type { ClientRequest } from 'node:http'
import { FleetError } from '../../shared/errors.ts'
import type { HttpAnswer } from './http-client.ts'
import { statusError } from './http-status.ts'
import { patiently } from './patience.ts'

/** A server that does not know `Expect` is sent the body after so long. */
const CONTINUE_MS = 1_000
/** Of a body that is handed over at once: while these are taken, the other side is there. */
export const BODY_PIECE_BYTES = 2 ** 19

interface Parts {
  readonly sent: ClientRequest
  readonly answer: Promise<HttpAnswer>
  readonly signal: AbortSignal
  readonly stallMs: number
}

/** The body of one request. An answer that comes before the body is whole is a failure, and the next write tells which. */
export class HttpUpload {
  readonly #parts: Parts
  #failure: unknown
  #ended = false
  /** Wakes a write that waits for room when there will be none. */
  #wake: () => void = () => undefined

  constructor(parts: Parts) {
    this.#parts = parts
    parts.answer.then(
      (answer) => {
        if (!this.#ended) this.#fail(statusError(answer.status))
      },
      (error: unknown) => this.#fail(error),
    )
  }

  /** Resolves when the server wants the body. @throws FleetError what it refused with, or the system's error */
  async ready(): Promise<void> {
    const { sent, signal, stallMs } = this.#parts
    let timer: NodeJS.Timeout | undefined
    const asked = new Promise<void>((resolve) => {
      this.#wake = resolve
      sent.once('continue', resolve)
      sent.once('socket', () => {
        timer = setTimeout(resolve, CONTINUE_MS)
      })
      sent.flushHeaders()
    })
    await patiently(asked, { signal, stallMs, giveUp: (reason) => this.#fail(reason) })
    clearTimeout(timer)
    this.#check()
  }

  /** All of it is with the system when this resolves: the chunk is its owner's again. */
  async write(chunk: Buffer): Promise<void> {
    this.#check()
    let before = Promise.resolve()
    for (let at = 0; at < chunk.length; at += BODY_PIECE_BYTES) {
      // One waits behind the one that is being taken.
      const piece = this.#handOver(chunk.subarray(at, at + BODY_PIECE_BYTES))
      await this.#taken(before)
      before = piece
    }
    await this.#taken(before)
  }

  /** Resolves when it is taken, and never if it cannot be: then the request fails. */
  #handOver(piece: Buffer): Promise<void> {
    return new Promise((resolve) => {
      this.#parts.sent.write(piece, (error) => {
        if (error == null) resolve()
      })
    })
  }

  /** However slow the way is: only one that stands still is given up. */
  async #taken(piece: Promise<void>): Promise<void> {
    this.#check()
    const { signal, stallMs } = this.#parts
    const taken = new Promise<void>((resolve) => {
      this.#wake = resolve
      piece.then(resolve)
    })
    await patiently(taken, { signal, stallMs, giveUp: (reason) => this.#fail(reason) })
    this.#check()
  }

  /** @param waitMs for the answer, once the body is out: servers sync and copy then */
  async end(waitMs: number): Promise<HttpAnswer> {
    this.#check()
    this.#ended = true
    this.#parts.sent.end()
    const giveUp = (reason: FleetError) => this.#fail(reason)
    return patiently(this.#parts.answer, { signal: this.#parts.signal, stallMs: waitMs, giveUp })
  }

  destroy(): void {
    this.#fail(new FleetError('cancelled', 'cancelled'))
  }

  #fail(error: unknown): void {
    this.#failure ??= error
    if (!this.#parts.sent.destroyed) this.#parts.sent.destroy()
    this.#wake()
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure
  }
}
