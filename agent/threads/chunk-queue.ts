import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { FleetError } from '../../shared/errors.ts'

/** How long either side sleeps before it looks again whether the other is still there. */
const LOOK_MS = 100
const DEPTH = 4
const SENT = 0
const TAKEN = 1

/** What crosses: a port for the messages and two counts, so that the taker can wait without an event loop. */
export interface QueueEnds {
  readonly port: MessagePort
  readonly counts: SharedArrayBuffer
}

export function newCounts(): SharedArrayBuffer {
  return new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT)
}

/** The sending end: only so many messages are on their way, so a slow taker slows the source. */
export class QueueSender<Message> {
  readonly #port: MessagePort
  readonly #counts: Int32Array
  readonly #depth: number

  constructor({ port, counts }: QueueEnds, depth = DEPTH) {
    this.#port = port
    this.#counts = new Int32Array(counts)
    this.#depth = depth
  }

  /** @throws cancelled once the signal aborts */
  async send(message: Message, transfer: readonly ArrayBuffer[], signal: AbortSignal): Promise<void> {
    for (;;) {
      if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
      const taken = Atomics.load(this.#counts, TAKEN)
      if (Atomics.load(this.#counts, SENT) - taken < this.#depth) break
      await Atomics.waitAsync(this.#counts, TAKEN, taken, LOOK_MS).value
    }
    this.#port.postMessage(message, [...transfer])
    Atomics.add(this.#counts, SENT, 1)
    Atomics.notify(this.#counts, SENT)
  }
}

/** The taking end, for a thread that works synchronously. */
export class QueueTaker<Message> {
  readonly #port: MessagePort
  readonly #counts: Int32Array
  readonly #throwIfStopped: () => void

  constructor({ port, counts }: QueueEnds, throwIfStopped: () => void) {
    this.#port = port
    this.#counts = new Int32Array(counts)
    this.#throwIfStopped = throwIfStopped
  }

  take(): Message {
    const taken = Atomics.load(this.#counts, TAKEN)
    while (Atomics.load(this.#counts, SENT) === taken) {
      this.#throwIfStopped()
      Atomics.wait(this.#counts, SENT, taken, LOOK_MS)
    }
    for (;;) {
      const received = receiveMessageOnPort(this.#port)
      if (received === undefined) continue // counted, so it is there as soon as this thread sees it
      Atomics.add(this.#counts, TAKEN, 1)
      Atomics.notify(this.#counts, TAKEN)
      // as: the sender of this port is a QueueSender of the same Message
      return received.message as Message
    }
  }
}
