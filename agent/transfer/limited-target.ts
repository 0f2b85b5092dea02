import { FleetError } from '../../shared/errors.ts'
import type { TargetConfig } from '../../shared/target-config.ts'
import { Throttle } from './bandwidth.ts'
import type { Clock } from './clock.ts'
import { LimitedSink } from './limited-sink.ts'
import { LimitedSource } from './limited-source.ts'
import { type RetryPolicy, retry } from './retry.ts'
import { Slots } from './slots.ts'
import { isPartial, joinPath, nameOf, partialPathOf, segmentsOf } from './target-path.ts'
import type { Entry, FreeSpace, Page, PutOptions, RangeSource, Sink, Store, Target, Watch } from './transfer.ts'
import { asTransferError } from './transfer-error.ts'

const PING_MS = 5_000
const MAX_TREE_DEPTH = 64
const MAX_PAGES = 10_000

export interface LimitedTargetParts {
  readonly store: Store
  readonly config: Pick<TargetConfig, 'name' | 'limits' | 'verify'>
  readonly policy: RetryPolicy
  readonly clock: Clock
  /** 16 hexadecimal digits, never the same twice. */
  readonly newToken: () => string
}

/** What every protocol has in common: slots, bandwidth, retries, hashes, verification, and errors that name the target. */
export class LimitedTarget implements Target {
  readonly name: string
  readonly #parts: LimitedTargetParts
  readonly #uploads: Slots
  /** Of their own: an increment reads what it completes while it is written. */
  readonly #reads: Slots
  readonly #throttle: Throttle

  constructor(parts: LimitedTargetParts) {
    this.#parts = parts
    this.name = parts.config.name
    this.#uploads = new Slots(parts.config.limits.slots)
    this.#reads = new Slots(parts.config.limits.slots)
    this.#throttle = new Throttle(parts.config.limits, parts.clock)
  }

  get features() {
    return this.#parts.store.features
  }

  async put(path: string, options: PutOptions): Promise<Sink> {
    nameOf(path)
    const release = await this.#uploads.take(options.signal)
    try {
      const { store, config } = this.#parts
      const replace = options.replace ?? false
      const { upload, partialPath } = await this.#try(options.signal, async () => {
        if (!replace && (await store.stat(path, options)) !== undefined)
          throw new FleetError('exists', 'the destination exists already')
        await this.#requireRoom(options)
        const partialPath = partialPathOf(path, this.#parts.newToken())
        const asked = { signal: options.signal, partialPath, sizeBytes: options.sizeBytes, replace }
        return { upload: await store.upload(path, asked), partialPath }
      })
      return new LimitedSink({
        ...{ upload, path, partialPath, options, release, store, throttle: this.#throttle, verify: config.verify },
        ...{ name: this.name, attempt: (work) => this.#try(options.signal, work) },
      })
    } catch (error) {
      release()
      throw error
    }
  }

  async get(path: string, watch: Watch): Promise<RangeSource> {
    const file = await this.#try(watch.signal, () => this.#parts.store.open(path, watch))
    const { policy } = this.#parts
    return new LimitedSource({ file, slots: this.#reads, throttle: this.#throttle, policy, name: this.name })
  }

  async list(path: string, options: Watch & { readonly cursor?: string | undefined }): Promise<Page> {
    const { entries, cursor } = await this.#page(path, options)
    return { entries: entries.filter(({ name }) => !isPartial(name)), cursor }
  }

  stat(path: string, watch: Watch): Promise<Entry | undefined> {
    return this.#try(watch.signal, () => this.#parts.store.stat(path, watch))
  }

  remove(path: string, watch: Watch): Promise<void> {
    nameOf(path)
    return this.#try(watch.signal, () => this.#parts.store.remove(path, watch))
  }

  async removeTree(path: string, watch: Watch): Promise<void> {
    await this.#removeBelow(joinPath(path), watch, 0)
    await this.remove(path, watch)
  }

  async rename(from: string, to: string, options: Watch & { readonly replace?: boolean }): Promise<void> {
    nameOf(from)
    nameOf(to)
    const { store } = this.#parts
    const replace = options.replace ?? false
    await this.#try(options.signal, async (attempt) => {
      try {
        await store.rename(from, to, { signal: options.signal, replace })
      } catch (error) {
        // The answer to an earlier attempt may be what was lost, not the attempt.
        const gone =
          attempt > 1 && error instanceof FleetError && (error.code === 'not_found' || error.code === 'exists')
        if (!gone || (await store.stat(from, options)) !== undefined || !(await store.stat(to, options))) throw error
      }
    })
  }

  async mkdir(path: string, watch: Watch): Promise<void> {
    const segments = segmentsOf(path)
    for (let depth = 1; depth <= segments.length; depth += 1) {
      const parent = segments.slice(0, depth).join('/')
      await this.#try(watch.signal, () => this.#parts.store.mkdir(parent, watch))
    }
  }

  async ping(watch: Watch): Promise<void> {
    const bound = AbortSignal.timeout(PING_MS)
    try {
      await this.#parts.store.ping({ signal: AbortSignal.any([watch.signal, bound]) })
    } catch (error) {
      const late = bound.aborted && !watch.signal.aborted
      throw asTransferError(late ? new FleetError('timeout', 'does not answer', { cause: error }) : error, this.name)
    }
  }

  free(watch: Watch): Promise<FreeSpace | undefined> {
    return this.#try(watch.signal, () => this.#parts.store.free(watch))
  }

  async sweep(path: string, options: Watch & { readonly olderThanMs: number }): Promise<number> {
    const before = new Date(this.#parts.clock.now() - options.olderThanMs)
    let swept = 0
    for await (const entry of this.#entries(path, options)) {
      const stale = isPartial(entry.name) && entry.modifiedAt !== undefined && entry.modifiedAt < before
      if (!stale || entry.kind !== 'file') continue
      await this.remove(joinPath(path, entry.name), options)
      swept += 1
    }
    const hidden = await this.#try(options.signal, async () =>
      this.#parts.store.sweepHidden?.(path, { signal: options.signal, before }),
    )
    return swept + (hidden ?? 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.store[Symbol.asyncDispose]()
  }

  async #requireRoom({ sizeBytes, signal }: PutOptions): Promise<void> {
    if (sizeBytes === undefined) return
    const free = await this.#parts.store.free({ signal })
    if (free !== undefined && free.freeBytes < sizeBytes)
      throw new FleetError('no_space', `has room for ${free.freeBytes} bytes, not for ${sizeBytes}`)
  }

  async #removeBelow(path: string, watch: Watch, depth: number): Promise<void> {
    if (depth === MAX_TREE_DEPTH) throw new FleetError('too_large', `target '${this.name}': the tree is too deep`)
    for await (const entry of this.#entries(path, watch)) {
      const inner = joinPath(path, entry.name)
      if (entry.kind === 'directory') await this.#removeBelow(inner, watch, depth + 1)
      await this.remove(inner, watch)
    }
  }

  /** Every entry, partial ones too. */
  async *#entries(path: string, watch: Watch): AsyncGenerator<Entry> {
    let cursor: string | undefined
    for (let pages = 0; pages < MAX_PAGES; pages += 1) {
      const page = await this.#page(path, { signal: watch.signal, cursor })
      yield* page.entries
      if (page.cursor === undefined) return
      cursor = page.cursor
    }
    throw new FleetError('too_large', `target '${this.name}': the directory holds too many entries`)
  }

  #page(path: string, options: Watch & { readonly cursor?: string | undefined }): Promise<Page> {
    const { signal, cursor } = options
    return this.#try(signal, () => this.#parts.store.list(joinPath(path), { signal, cursor }))
  }

  async #try<Result>(signal: AbortSignal, work: (attempt: number) => Promise<Result>): Promise<Result> {
    return await retry(this.#parts.policy, signal, async (attempt) => {
      try {
        return await work(attempt)
      } catch (error) {
        throw asTransferError(error, this.name)
      }
    })
  }
}
