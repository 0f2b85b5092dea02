import { releaseShared } from '../../native/release.ts'
import { ZstdCompressor } from '../../native/zstd.ts'
import { newSlots, type SlotMemory } from './frame-slots.ts'

/** Tools that nobody uses are kept this long: memory that is thrown away and taken anew for each archive of a round is there twice before a collector comes. */
const KEPT_MS = 30_000

/** The memory that frames of one archive are filled in, and what compresses them. */
export class FrameTools implements Disposable {
  readonly memory: SlotMemory
  readonly level: number
  readonly #compressors = new Map<string, ZstdCompressor>()

  constructor(slots: number, frameBytes: number, level: number) {
    this.memory = newSlots(slots, frameBytes)
    this.level = level
  }

  /** One a name: what it yields lies in its memory until it is used again. */
  compressor(name: string, settings: { readonly level: number; readonly maxBytes: number }): ZstdCompressor {
    const compressor = this.#compressors.get(name) ?? new ZstdCompressor(settings)
    this.#compressors.set(name, compressor)
    return compressor
  }

  /** Only while nothing is being compressed, and nobody fills frames that are to be stored. */
  [Symbol.dispose](): void {
    for (const compressor of this.#compressors.values()) compressor[Symbol.dispose]()
    this.#compressors.clear()
    releaseShared(this.memory.data)
  }
}

interface Kept {
  readonly tools: FrameTools
  readonly end: NodeJS.Timeout
}

/** At most one set. */
let kept: Kept | undefined

export function takeTools(wish: {
  readonly slots: number
  readonly frameBytes: number
  readonly level: number
}): FrameTools {
  const { tools, end } = kept ?? {}
  const { slots, frameBytes, level } = wish
  if (tools?.memory.frameBytes !== frameBytes || tools.level !== level) return new FrameTools(slots, frameBytes, level)
  clearTimeout(end)
  kept = undefined
  new Int32Array(tools.memory.states).fill(0)
  return tools
}

/** For the next archive. Neither thread uses them any more. */
export function giveBackTools(tools: FrameTools): void {
  if (kept !== undefined) {
    tools[Symbol.dispose]()
    return
  }
  kept = { tools, end: setTimeout(letToolsGo, KEPT_MS).unref() }
}

/** Those that nobody uses, at once. */
export function letToolsGo(): void {
  if (kept === undefined) return
  clearTimeout(kept.end)
  kept.tools[Symbol.dispose]()
  kept = undefined
}
