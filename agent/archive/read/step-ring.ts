import { FleetError } from '../../../shared/errors.ts'

/** How long either side sleeps before it looks again whether the other is still there. */
const LOOK_MS = 100
const SLOTS = 4
const SLOT_BYTES = 2 ** 18
const COUNTS_BYTES = 16
/** Of slots, since the beginning. */
const FILLED = 0
const EMPTIED = 1

/** Steps stand at multiples of this, so that their numbers are read where they stand. */
const ALIGNMENT = Float64Array.BYTES_PER_ELEMENT
const MAX_NUMBERS = 9
/** A step: its kind (not 0, which ends a slot), how many bytes it has, its numbers, its bytes. */
const HEAD = MAX_NUMBERS + 2
const HEAD_BYTES = HEAD * ALIGNMENT
export const MAX_STEP_BYTES = SLOT_BYTES - HEAD_BYTES - ALIGNMENT
/** What is longer is put in pieces, none shorter than this. */
const LEAST_PIECE_BYTES = 2 ** 16

/** A megabyte that two threads share: one fills them with steps in order, the other takes them. Nothing is allocated for a step. */
export function newStepRing(): SharedArrayBuffer {
  return new SharedArrayBuffer(COUNTS_BYTES + SLOTS * SLOT_BYTES)
}

class Ring {
  readonly #counts: Int32Array
  readonly #slots: readonly Slot[]
  readonly #throwIfStopped: () => void

  constructor(memory: SharedArrayBuffer, throwIfStopped: () => void) {
    this.#counts = new Int32Array(memory, 0, 2)
    this.#slots = Array.from({ length: SLOTS }, (_, index) => {
      const start = COUNTS_BYTES + index * SLOT_BYTES
      const numbers = new Float64Array(memory, start, SLOT_BYTES / ALIGNMENT)
      return { bytes: Buffer.from(memory, start, SLOT_BYTES), numbers }
    })
    this.#throwIfStopped = throwIfStopped
  }

  /** The slot that this side uses next, once the other side is done with it. @param own which count is of this side */
  slot(own: typeof FILLED | typeof EMPTIED): Slot {
    const other = FILLED + EMPTIED - own
    const most = own === FILLED ? SLOTS : 0
    for (;;) {
      const seen = Atomics.load(this.#counts, other)
      if (Atomics.load(this.#counts, FILLED) - Atomics.load(this.#counts, EMPTIED) !== most) break
      this.#throwIfStopped()
      Atomics.wait(this.#counts, other, seen, LOOK_MS)
    }
    const slot = this.#slots[Atomics.load(this.#counts, own) % SLOTS]
    if (slot === undefined) throw new FleetError('internal', 'no such slot')
    return slot
  }

  /** This side is done with its slot. */
  pass(own: typeof FILLED | typeof EMPTIED): void {
    Atomics.add(this.#counts, own, 1)
    Atomics.notify(this.#counts, own)
  }
}

interface Slot {
  readonly bytes: Buffer
  /** The same memory. */
  readonly numbers: Float64Array
}

/** The end that tells. */
export class StepFiller {
  readonly #ring: Ring
  #slot: Slot | undefined
  #at = 0

  /** @param throwIfStopped ends the waiting for the other side */
  constructor(memory: SharedArrayBuffer, throwIfStopped: () => void) {
    this.#ring = new Ring(memory, throwIfStopped)
  }

  /** @param kind not 0 @param bytes at most `MAX_STEP_BYTES`; of text, characters of one byte. @throws cancelled */
  put(kind: number, numbers: readonly number[], bytes: Uint8Array | string): void {
    if (this.#room < bytes.length) this.flush()
    if (this.#room < bytes.length) throw new FleetError('internal', 'a step is larger than any may be')
    this.#slot ??= this.#ring.slot(FILLED)
    const { numbers: words, bytes: memory } = this.#slot
    const first = this.#at / ALIGNMENT
    words[first] = kind
    words[first + 1] = bytes.length
    for (let index = 0; index < numbers.length; index += 1) words[first + 2 + index] = numbers[index] ?? 0
    const start = this.#at + HEAD_BYTES
    if (typeof bytes === 'string') memory.write(bytes, start, 'latin1')
    else memory.set(bytes, start)
    this.#at = start + padded(bytes.length)
    words[this.#at / ALIGNMENT] = 0
  }

  /** How many of so many bytes the next step is to have. */
  piece(bytes: number): number {
    if (this.#room < Math.min(bytes, LEAST_PIECE_BYTES)) this.flush()
    return Math.min(bytes, this.#room)
  }

  /** The other side gets what is there. */
  flush(): void {
    if (this.#slot === undefined) return
    this.#slot = undefined
    this.#at = 0
    this.#ring.pass(FILLED)
  }

  /** Behind a step there is always place for what ends a slot. */
  get #room(): number {
    return MAX_STEP_BYTES - this.#at
  }
}

/** The end that is told. What it offers is of the current step, and valid until the next. */
export class StepTaker {
  readonly #ring: Ring
  #slot: Slot | undefined
  #at = 0
  #next = 0

  /** @param throwIfStopped ends the waiting for the other side */
  constructor(memory: SharedArrayBuffer, throwIfStopped: () => void) {
    this.#ring = new Ring(memory, throwIfStopped)
  }

  /** Waits for a step. @returns its kind. @throws cancelled */
  next(): number {
    for (;;) {
      this.#slot ??= this.#ring.slot(EMPTIED)
      this.#at = this.#next
      const kind = this.#word(0)
      if (kind !== 0) {
        this.#next = this.#at + HEAD_BYTES + padded(this.#word(1))
        return kind
      }
      this.#slot = undefined
      this.#next = 0
      this.#ring.pass(EMPTIED)
    }
  }

  number(index: number): number {
    return this.#word(2 + index)
  }

  bytes(): Buffer {
    const start = this.#at + HEAD_BYTES
    return this.#memory.bytes.subarray(start, start + this.#word(1))
  }

  text(): string {
    const start = this.#at + HEAD_BYTES
    return this.#memory.bytes.toString('latin1', start, start + this.#word(1))
  }

  #word(index: number): number {
    return this.#memory.numbers[this.#at / ALIGNMENT + index] ?? 0
  }

  get #memory(): Slot {
    if (this.#slot === undefined) throw new FleetError('internal', 'no step is taken')
    return this.#slot
  }
}

function padded(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT
}
