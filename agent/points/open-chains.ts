import { createHash } from 'node:crypto'
import { abortable } from '../../shared/abortable.ts'
import { type ChainRequest, type OpenChain, openChain } from './open-chain.ts'
import type { PointTools, TargetLease, TargetRequest } from './point-tools.ts'

/** A page is often followed by the next: opened tables are kept so long and so many. */
const IDLE_MS = 30_000
const MAX_KEPT = 4
/** A long chain on a target far away takes longer to open than anybody waits: it goes on for who asks again. */
const OPEN_MS = 60_000

interface Kept {
  readonly opening: Promise<OpenChain>
  readonly lease: TargetLease
  users: number
  timer: NodeJS.Timeout | undefined
}

/** Points that are being browsed: their tables of frames are in memory until nobody has asked for a while. */
export class OpenChains implements AsyncDisposable {
  readonly #tools: PointTools
  readonly #kept = new Map<string, Kept>()
  readonly #closing = new AbortController()

  constructor(tools: PointTools) {
    this.#tools = tools
  }

  /** For indexes alone. @throws as openChain; cancelled */
  async use<Result>(
    request: TargetRequest & Pick<ChainRequest, 'series' | 'refs'>,
    signal: AbortSignal,
    read: (open: OpenChain) => Promise<Result>,
  ): Promise<Result> {
    const lease = await this.#tools.lease(request)
    const key = keyOf(lease, request)
    const kept = await this.#take(key, lease, () => {
      const bound = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(OPEN_MS)])
      return openChain({ ...request, lease, indexOnly: true }, this.#tools, bound)
    })
    kept.opening.catch(() => this.#forget(key, kept)) // what could not be opened is opened anew
    try {
      const open = await abortable(kept.opening, signal)
      return await read(open).catch((error: unknown) => {
        this.#forget(key, kept) // and what could not be read
        throw error
      })
    } finally {
      this.#giveBack(key, kept)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    const all = [...this.#kept.values()]
    this.#kept.clear()
    for (const kept of all) if (kept.users === 0) await close(kept)
  }

  async #take(key: string, lease: TargetLease, open: () => Promise<OpenChain>): Promise<Kept> {
    const found = this.#kept.get(key)
    const kept: Kept = found ?? { opening: open(), lease, users: 0, timer: undefined }
    if (found !== undefined) await lease[Symbol.asyncDispose]()
    clearTimeout(kept.timer)
    kept.users += 1
    this.#kept.delete(key)
    this.#kept.set(key, kept)
    return kept
  }

  #forget(key: string, kept: Kept): void {
    if (this.#kept.get(key) === kept) this.#kept.delete(key)
  }

  /** Nobody waits for what is closed: it may still be opened. */
  #giveBack(key: string, kept: Kept): void {
    kept.users -= 1
    if (kept.users > 0) return
    if (this.#kept.get(key) !== kept) return void close(kept).catch(() => undefined)
    kept.timer = setTimeout(() => this.#drop(key, kept), IDLE_MS)
    kept.timer.unref()
    const idle = [...this.#kept].filter(([, { users }]) => users === 0)
    for (const [oldKey, old] of idle.slice(0, -MAX_KEPT)) this.#drop(oldKey, old)
  }

  #drop(key: string, kept: Kept): void {
    if (kept.users > 0 || this.#kept.get(key) !== kept) return
    this.#kept.delete(key)
    void close(kept).catch(() => undefined)
  }
}

async function close({ opening, lease, timer }: Kept): Promise<void> {
  clearTimeout(timer)
  const open = await opening.catch(() => undefined)
  await open?.[Symbol.asyncDispose]()
  await lease[Symbol.asyncDispose]()
}

function keyOf(lease: TargetLease, { series, refs }: Pick<ChainRequest, 'series' | 'refs'>): string {
  return createHash('sha256')
    .update(JSON.stringify([lease.key, series, refs]))
    .digest('base64url')
}
