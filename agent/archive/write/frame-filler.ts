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
      const room = this.room()
      const copied = bytes.copy(room, 0, done)
      this.advance(copied)
      done += copied
    }
  }

  zeros(count: number): void {
    for (let left = count; left > 0; ) {
      const room = this.room()
      const bytes = Math.min(left, room.length)
      room.fill(0, 0, bytes)
      this.advance(bytes)
      left -= bytes
    }
  }

  /** What is free of the frame, at least one byte; valid until `advance`. */
  room(): Buffer {
    if (this.#slot >= 0 && this.#used === this.#bytes.length) this.#end()
    if (this.#slot < 0) {
      this.#slot = this.#slots.take(this.#throwIfStopped)
      this.#bytes = this.#slots.bytes(this.#slot)
    }
    return this.#used === 0 ? this.#bytes : this.#bytes.subarray(this.#used)
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
