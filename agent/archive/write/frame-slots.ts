const LOOK_MS = 100
const FREE = 0
const TAKEN = 1

/** Frames on their way from the reading thread to the compressor: read into once, compressed from where they lie. */
export interface SlotMemory {
  readonly states: SharedArrayBuffer
  readonly data: SharedArrayBuffer
  readonly frameBytes: number
}

export function newSlots(slots: number, frameBytes: number): SlotMemory {
  return {
    states: new SharedArrayBuffer(slots * Int32Array.BYTES_PER_ELEMENT),
    data: new SharedArrayBuffer(slots * frameBytes),
    frameBytes,
  }
}

export class FrameSlots {
  readonly #states: Int32Array
  readonly #memory: SlotMemory
  #last = -1

  constructor(memory: SlotMemory) {
    this.#memory = memory
    this.#states = new Int32Array(memory.states)
  }

  bytes(slot: number): Buffer {
    const { data, frameBytes } = this.#memory
    return Buffer.from(data, slot * frameBytes, frameBytes)
  }

  /** Slots are used in turn and frames are freed in order, so the next one is the first to become free. */
  take(throwIfStopped: () => void): number {
    const slot = (this.#last + 1) % this.#states.length
    while (Atomics.load(this.#states, slot) === TAKEN) {
      throwIfStopped()
      Atomics.wait(this.#states, slot, TAKEN, LOOK_MS)
    }
    Atomics.store(this.#states, slot, TAKEN)
    this.#last = slot
    return slot
  }

  free(slot: number): void {
    Atomics.store(this.#states, slot, FREE)
    Atomics.notify(this.#states, slot)
  }
}
