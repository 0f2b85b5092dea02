import { once } from 'node:events'
import type { Worker } from 'node:worker_threads'
import type { ErrorCode } from '../../shared/errors.ts'

/** An error as it leaves a thread. */
export interface ThreadFailure {
  readonly type: 'failed'
  readonly code: ErrorCode
  readonly message: string
  readonly detail: string | undefined
}

/** What a thread posts, once. */
export type ThreadEnd = { readonly type: 'done' } | ThreadFailure

/** Threads that do one thing together: whatever ends one of them before it is done ends all. */
export class ThreadGroup {
  readonly #over: AbortController
  readonly #ends = new Map<Worker, ThreadEnd | undefined>()
  #failure: ThreadFailure | undefined

  /** @param over is aborted by the first that ends otherwise than done; whoever owns it stops the others then */
  constructor(over: AbortController) {
    this.#over = over
  }

  /** What failed first. What fails behind an end that came from outside fails of it, and is not told. */
  get failure(): ThreadFailure | undefined {
    return this.#failure
  }

  get isDone(): boolean {
    return [...this.#ends.values()].every((end) => end?.type === 'done')
  }

  /** @returns the thread */
  add(thread: Worker): Worker {
    this.#ends.set(thread, undefined)
    thread.on('message', (end: ThreadEnd) => {
      this.#ends.set(thread, end)
      if (end.type === 'done') return
      if (!this.#over.signal.aborted) this.#failure = end
      this.#over.abort()
    })
    return thread
  }

  /** Waits for all of them. @throws what one of them did not catch: a bug */
  async ended(): Promise<void> {
    const exits = await Promise.allSettled([...this.#ends.keys()].map((thread) => this.#ended(thread)))
    for (const exit of exits) if (exit.status === 'rejected') throw exit.reason
  }

  async #ended(thread: Worker): Promise<void> {
    try {
      // `once` rejects on the thread's 'error' event.
      await once(thread, 'exit')
    } finally {
      if (this.#ends.get(thread)?.type !== 'done') this.#over.abort()
    }
  }
}
