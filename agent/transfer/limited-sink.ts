import { FleetError } from '../../shared/errors.ts'
import type { TargetConfig } from '../../shared/target-config.ts'
import { release } from '../native/release.ts'
import type { Throttle } from './bandwidth.ts'
import { requireSame, Tally } from './tally.ts'
import type { PutOptions, Sink, Store, Stored, Upload, Verified } from './transfer.ts'
import { asTransferError } from './transfer-error.ts'

export interface LimitedSinkParts {
  readonly upload: Upload
  readonly store: Store
  readonly path: string
  readonly partialPath: string
  readonly options: PutOptions
  readonly throttle: Throttle
  readonly verify: TargetConfig['verify']
  readonly name: string
  /** Tries again what may be repeated. */
  readonly attempt: <Result>(work: (attempt: number) => Promise<Result>) => Promise<Result>
  readonly release: () => void
}

/** Limits, counts, hashes, verifies and publishes what one upload writes; any failure takes away what was written. */
export class LimitedSink implements Sink {
  readonly #parts: LimitedSinkParts
  readonly #tally = new Tally()
  #ended = false

  constructor(parts: LimitedSinkParts) {
    this.#parts = parts
  }

  write(chunk: Buffer): Promise<void> {
    return this.#guarded(async () => {
      const { throttle, upload, options } = this.#parts
      await throttle.pass(chunk.length, options.signal)
      if (options.signal.aborted) throw new FleetError('cancelled', 'cancelled')
      // Both have done with the chunk, whatever becomes of one: its owner may give the memory back then.
      const [hashed, sent] = await Promise.allSettled([this.#tally.add(chunk), upload.write(chunk)])
      if (sent.status === 'rejected') throw sent.reason
      if (hashed.status === 'rejected') throw hashed.reason
      options.progress?.(this.#tally.sizeBytes)
    })
  }

  finish(expected?: { readonly sizeBytes: number; readonly sha256: string }): Promise<Stored> {
    return this.#guarded(async () => {
      const written = { sizeBytes: this.#tally.sizeBytes, sha256: this.#tally.digest() }
      if (expected !== undefined) requireSame(written, expected, 'what was sent')
      await this.#parts.upload.close()
      const verified = await this.#publishVerified(written)
      this.#ended = true
      this.#parts.release()
      return { ...written, verified }
    })
  }

  async abort(): Promise<void> {
    if (this.#ended) return
    this.#ended = true
    this.#tally[Symbol.dispose]()
    try {
      await this.#parts.upload.discard()
    } catch {
      // A server that is gone cannot be tidied now; `sweep` does it when it is back.
    } finally {
      this.#parts.release()
    }
  }

  async #publishVerified(written: Written): Promise<Verified> {
    const { upload, partialPath, path, store, options } = this.#parts
    if (upload.readable) await this.#check(partialPath, written)
    const { checksum } = await this.#parts.attempt((attempt) => this.#publish(attempt, written))
    if (!upload.readable) {
      try {
        await this.#check(path, written)
      } catch (error) {
        const wrong = error instanceof FleetError && error.code === 'corrupt'
        if (wrong) await store.remove(path, { signal: options.signal })
        throw error
      }
    }
    if (this.#parts.verify === 'reread') return 'reread'
    return checksum ? 'checksum' : 'size'
  }

  async #publish(attempt: number, written: Written): Promise<{ readonly checksum: boolean }> {
    const { upload, store, path, options } = this.#parts
    try {
      return await upload.publish()
    } catch (error) {
      // The answer to an earlier attempt may be what was lost, not the attempt.
      const gone = attempt > 1 && error instanceof FleetError && (error.code === 'not_found' || error.code === 'exists')
      if (!gone || (await store.stat(path, options))?.sizeBytes !== written.sizeBytes) throw error
      return { checksum: false }
    }
  }

  async #check(path: string, written: Written): Promise<void> {
    const { store, verify, attempt, options } = this.#parts
    if (verify === 'reread') return attempt(() => this.#reread(path, written))
    const sizeBytes = await attempt(async () => (await store.stat(path, options))?.sizeBytes)
    if (sizeBytes !== written.sizeBytes)
      throw new FleetError('corrupt', `what arrived is ${sizeBytes ?? 0} bytes long, not ${written.sizeBytes}`)
  }

  async #reread(path: string, written: Written): Promise<void> {
    const { store, throttle, options } = this.#parts
    const file = await store.open(path, options)
    try {
      using tally = new Tally()
      for await (const chunk of file.stream(0, file.sizeBytes, options.signal)) {
        await throttle.pass(chunk.length, options.signal)
        await tally.add(chunk)
        release(chunk)
      }
      requireSame({ sizeBytes: tally.sizeBytes, sha256: tally.digest() }, written, 'what arrived')
    } finally {
      await file.close()
    }
  }

  async #guarded<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#ended) throw new FleetError('internal', 'the upload has ended')
    try {
      return await work()
    } catch (error) {
      await this.abort()
      const cancelled = this.#parts.options.signal.aborted && !(error instanceof FleetError)
      throw cancelled
        ? new FleetError('cancelled', 'cancelled', { cause: error })
        : asTransferError(error, this.#parts.name)
    }
  }
}

interface Written {
  readonly sizeBytes: number
  readonly sha256: string
}
