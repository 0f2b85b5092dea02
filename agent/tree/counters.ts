import { FleetError } from '../../shared/errors.ts'

const FLAG_BYTES = 8

/**
 * What a tree's worker and its owner share without messages: a stop flag that the owner raises, and counts that the worker
 * writes. Counts may be read a moment late.
 */
export class Counters {
  readonly memory: SharedArrayBuffer
  readonly #stop: Int32Array
  readonly #counts: Float64Array

  constructor(memory = new SharedArrayBuffer(FLAG_BYTES + 2 * Float64Array.BYTES_PER_ELEMENT)) {
    this.memory = memory
    this.#stop = new Int32Array(memory, 0, 1)
    this.#counts = new Float64Array(memory, FLAG_BYTES, 2)
  }

  stop(): void {
    Atomics.store(this.#stop, 0, 1)
  }

  /** @throws cancelled once the owner has asked to stop */
  throwIfStopped(): void {
    if (Atomics.load(this.#stop, 0) !== 0) throw new FleetError('cancelled', 'cancelled')
  }

  get files(): number {
    return this.#counts[0] ?? 0
  }
  get bytes(): number {
    return this.#counts[1] ?? 0
  }

  addFiles(files: number): void {
    this.#counts[0] = this.files + files
  }
  addBytes(bytes: number): void {
    this.#counts[1] = this.bytes + bytes
  }
}
