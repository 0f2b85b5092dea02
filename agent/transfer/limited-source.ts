import { FleetError } from '../../shared/errors.ts'
import { release } from '../native/release.ts'
import type { Throttle } from './bandwidth.ts'
import { mayRetry, pauseAfter, type RetryPolicy } from './retry.ts'
import type { Slots } from './slots.ts'
import { MAX_READ_BYTES, type RangeSource, type StoreFile } from './transfer.ts'
import { asTransferError } from './transfer-error.ts'

export interface LimitedSourceParts {
  readonly file: StoreFile
  readonly throttle: Throttle
  readonly policy: RetryPolicy
  readonly name: string
  readonly slots: Slots
}

/** Limits what one open file reads, and goes on where it was when the connection was cut. */
export class LimitedSource implements RangeSource {
  readonly #parts: LimitedSourceParts

  constructor(parts: LimitedSourceParts) {
    this.#parts = parts
  }

  get sizeBytes(): number {
    return this.#parts.file.sizeBytes
  }

  async read(offset: number, length: number, signal: AbortSignal): Promise<Buffer> {
    if (length > MAX_READ_BYTES) throw new FleetError('invalid', `at most ${MAX_READ_BYTES} bytes are read at a time`)
    const wanted = Math.max(0, Math.min(length, this.sizeBytes - offset))
    let whole: Buffer | undefined
    let read = 0
    for await (const chunk of this.stream(offset, length, signal)) {
      if (chunk.length === wanted) return chunk
      whole ??= Buffer.allocUnsafeSlow(wanted)
      read += chunk.copy(whole, read)
      release(chunk)
    }
    return whole?.subarray(0, read) ?? Buffer.alloc(0)
  }

  async *stream(offset: number, length: number, signal: AbortSignal): AsyncGenerator<Buffer, void> {
    if (!(Number.isSafeInteger(offset) && offset >= 0 && Number.isSafeInteger(length) && length >= 0))
      throw new FleetError('invalid', 'a range begins at 0 or later and is not negative')
    const end = Math.min(offset + length, this.sizeBytes)
    const release = await this.#parts.slots.take(signal)
    try {
      yield* this.#range(offset, end, signal)
    } finally {
      release()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.file.close()
  }

  async *#range(offset: number, end: number, signal: AbortSignal): AsyncGenerator<Buffer, void> {
    let failures = 0
    for (let at = offset; at < end; ) {
      try {
        for await (const chunk of this.#parts.file.stream(at, end - at, signal)) {
          at += chunk.length
          failures = 0
          if (at > end) throw new FleetError('corrupt', 'answers with more than was asked for')
          await this.#parts.throttle.pass(chunk.length, signal)
          yield chunk
        }
        if (at < end) throw new FleetError('unavailable', 'ended an answer early')
      } catch (error) {
        failures += 1
        await this.#pause(error, failures, signal)
      }
    }
  }

  /** Waits before the next attempt. @throws when there should be none */
  async #pause(error: unknown, failures: number, signal: AbortSignal): Promise<void> {
    const { policy, name } = this.#parts
    if (signal.aborted) throw new FleetError('cancelled', 'cancelled', { cause: error })
    const named = asTransferError(error, name)
    if (!mayRetry(named) || failures === policy.attempts) throw named
    await pauseAfter(policy, failures, signal)
  }
}
