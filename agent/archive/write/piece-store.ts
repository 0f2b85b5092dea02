import { release } from '../../native/release.ts'
import type { ZstdCompressor } from '../../native/zstd.ts'
import { type Compression, compressFrame } from '../compression.ts'
import type { ArchiveFiles, PlainTar } from './archive-files.ts'
import type { FilledFrame } from './frame-filler.ts'
import { FrameSlots } from './frame-slots.ts'
import type { FrameTools } from './frame-tools.ts'
import type { IndexChunk } from './index-text.ts'

export const DEFAULT_LEVEL = 3
export const INDEX_FRAME_BYTES = 2 ** 18
/** The last line may reach beyond; what is longer still is compressed with memory of its own. */
export const INDEX_MAX_BYTES = INDEX_FRAME_BYTES + 2 ** 20

export interface PlainPiece {
  readonly type: PlainTar
  readonly bytes: Uint8Array<ArrayBuffer>
}
export type Piece = FilledFrame | IndexChunk | PlainPiece

/** Compresses what a thread wrote, several frames at once, and stores everything in the order it came. */
export class PieceStore {
  readonly #files: ArchiveFiles
  readonly #compression: Compression
  readonly #tools: FrameTools
  readonly #slots: FrameSlots
  readonly #onFailure: () => void
  /** What each slot's compressor yielded last has been stored. */
  readonly #yielded: Promise<void>[] = []
  #stored: Promise<void> = Promise.resolve()
  #failed: { readonly error: unknown } | undefined

  /** @param options.onFailure called at once: nothing is stored any more */
  constructor(options: {
    readonly files: ArchiveFiles
    readonly compression: Compression
    readonly tools: FrameTools
    readonly onFailure: () => void
  }) {
    this.#files = options.files
    this.#compression = options.compression
    this.#tools = options.tools
    this.#slots = new FrameSlots(options.tools.memory)
    this.#onFailure = options.onFailure
  }

  /** All that was taken in has had its turn. */
  settled(): Promise<void> {
    return this.#stored
  }

  /** @throws what storing failed of, or `fail` was told */
  throwIfFailed(): void {
    if (this.#failed !== undefined) throw this.#failed.error
  }

  fail(error: unknown): void {
    this.#failed ??= { error }
    this.#onFailure()
  }

  take(piece: Piece): void {
    if (piece.type === 'frame') this.#frame(piece)
    else if (piece.type === 'index') this.#inOrder(() => this.#index(piece))
    else
      this.#inOrder(async () => {
        if (this.#failed === undefined) await this.#files.addPlain(piece.type, piece.bytes)
      })
  }

  #frame(frame: FilledFrame): void {
    if (this.#compression === 'zstd') this.#compressed(frame)
    else this.#inOrder(() => this.#plain(frame))
  }

  async #plain({ slot, bytes }: FilledFrame): Promise<void> {
    if (this.#failed === undefined) await this.#files.addFrame(this.#slots.bytes(slot).subarray(0, bytes), bytes)
    this.#slots.free(slot)
  }

  /**
   * Compression begins at once, on another thread; what it yields waits for its turn. The slot is free before that: it is filled
   * again while the frame is hashed and written.
   */
  #compressed({ slot, bytes }: FilledFrame): void {
    const raw = this.#slots.bytes(slot).subarray(0, bytes)
    const compressor = this.#compressor(slot)
    const compressing = (this.#yielded[slot] ?? Promise.resolve()).then(() => compressor.compress(raw))
    compressing.then(
      () => this.#slots.free(slot),
      () => undefined, // told by whoever awaits it below
    )
    this.#inOrder(async () => {
      const stored = await compressing
      if (this.#failed === undefined) await this.#files.addFrame(stored, bytes)
    })
    this.#yielded[slot] = this.#stored
  }

  /** One a slot: what it yields lies in its memory until it is stored. */
  #compressor(slot: number): ZstdCompressor {
    const { level, memory } = this.#tools
    return this.#tools.compressor(`slot ${slot}`, { level, maxBytes: memory.frameBytes })
  }

  /** Compressed in its turn, by one compressor: an index is small beside its data. */
  async #index({ text, firstPath, lines }: IndexChunk): Promise<void> {
    if (this.#failed !== undefined) return
    const compressor = this.#tools.compressor('index', { level: DEFAULT_LEVEL, maxBytes: INDEX_MAX_BYTES })
    const raw = Buffer.from(text.buffer, text.byteOffset, text.length)
    const rawBytes = raw.length
    const frame = rawBytes > INDEX_MAX_BYTES ? await compressFrame(raw) : await compressor.compress(raw)
    release(raw)
    await this.#files.addIndex(frame, { rawBytes, firstPath, lines })
  }

  #inOrder(store: () => Promise<void>): void {
    this.#stored = this.#stored.then(async () => {
      try {
        await store()
      } catch (error) {
        this.fail(error)
      }
    })
  }
}
