import { createHash } from 'node:crypto'
import { type ChainRequest, type OpenChain, openChain } from './open-chain.ts'
import type { PointTools, TargetLease, TargetRequest } from './point-tools.ts'

/** A page is often followed by the next: opened tables are kept so long and so many. */
const IDLE_MS = 30_000
const MAX_KEPT = 4

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

  constructor(tools: PointTools) {
    this.#tools = tools
  }

  /** For indexes alone. @throws as openChain */
  async use<Result>(
    request: TargetRequest & Pick<ChainRequest, 'series' | 'refs'>,
    signal: AbortSignal,
    read: (open: OpenChain) => Promise<Result>,
  ): Promise<Result> {
    const lease = await this.#tools.lease(request)
    const key = keyOf(lease, request)
    const kept = await this.#take(key, lease, () =>
      openChain({ ...request, lease, indexOnly: true }, this.#tools, signal),
    )
    try {
      return await read(await kept.opening)
    } catch (error) {
      this.#kept.delete(key) // what could not be read is opened anew
      throw error
    } finally {
      await this.#giveBack(key, kept)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
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

  async #giveBack(key: string, kept: Kept): Promise<void> {
    kept.users -= 1
    if (kept.users > 0) return
    if (this.#kept.get(key) !== kept) return close(kept)
    kept.timer = setTimeout(() => void this.#drop(key, kept).catch(() => undefined), IDLE_MS)
    kept.timer.unref()
    const idle = [...this.#kept].filter(([, { users }]) => users === 0)
    for (const [oldKey, old] of idle.slice(0, -MAX_KEPT)) await this.#drop(oldKey, old)
  }

  async #drop(key: string, kept: Kept): Promise<void> {
    if (kept.users > 0 || this.#kept.get(key) !== kept) return
    this.#kept.delete(key)
    await close(kept)
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
