import type { FrameSlots } from './frame-slots.ts'

export interface FilledFrame {
  readonly type: 'frame'
  readonly slot: number
  readonly bytes: number
  /** Of its first byte in the tar. */
  readonly offset: number
}

/** The tar as it grows, cut into frames. */
export class FrameFiller {
  readonly #slots: FrameSlots
  readonly #send: (frame: FilledFrame) => void
  readonly #throwIfStopped: () => void
  #slot = -1
  #bytes: Buffer = Buffer.alloc(0)
  #used = 0
  #start = 0
  #frame = 0

  constructor(slots: FrameSlots, send: (frame: FilledFrame) => void, throwIfStopped: () => void) {
    this.#slots = slots
    this.#send = send
    this.#throwIfStopped = throwIfStopped
  }

  get offset(): number {
    return this.#start + this.#used
  }
  get frame(): number {
    return this.#frame
  }

  /** Begins a new frame when `bytes` would not fit whole into this one: a header is read with one frame. */
  keepWhole(bytes: number): void {
    if (this.#slot >= 0 && bytes > this.#bytes.length - this.#used && bytes <= this.#bytes.length) this.#end()
  }

  put(bytes: Buffer): void {
    for (let done = 0; done < bytes.length; ) {
      this.settle()
      const copied = bytes.copy(this.#bytes, this.#used, done)
      this.#used += copied
      done += copied
    }
  }

  zeros(count: number): void {
    for (let left = count; left > 0; ) {
      this.settle()
      const bytes = Math.min(left, this.#bytes.length - this.#used)
      this.#bytes.fill(0, this.#used, this.#used + bytes)
      this.#used += bytes
      left -= bytes
    }
  }

  /** Makes the next byte's frame the current one: a full frame ends here. */
  settle(): void {
    if (this.#slot >= 0 && this.#used === this.#bytes.length) this.#end()
    if (this.#slot >= 0) return
    this.#slot = this.#slots.take(this.#throwIfStopped)
    this.#bytes = this.#slots.bytes(this.#slot)
  }

  /** What is free of the frame, at least one byte and at most `limit`; valid until `advance`. */
  room(limit: number): Buffer {
    this.settle()
    return this.#bytes.subarray(this.#used, this.#used + limit)
  }

  advance(bytes: number): void {
    this.#used += bytes
  }

  finish(): void {
    if (this.#slot >= 0 && this.#used > 0) this.#end()
  }

  #end(): void {
    this.#send({ type: 'frame', slot: this.#slot, bytes: this.#used, offset: this.#start })
    this.#start += this.#used
    this.#used = 0
    this.#slot = -1
    this.#frame += 1
  }
}
