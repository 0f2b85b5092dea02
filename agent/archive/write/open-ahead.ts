import { STATUS_BYTES, type Status } from '../../native/status.ts'

/** Files that are open before they are read. */
export const WINDOW = 128
/** Names of one run. */
const MAX_NAMES = 1_024
const NAMES_BYTES = 65_536
/** How long either side sleeps before it looks again. */
export const LOOK_MS = 20
/** Neither wakes the other for every file. */
export const WAKE_EVERY = 32
/** Of the words that both sides share. */
export const WORD = { ready: 0, stop: 1, run: 2, count: 3, directory: 4, opened: 5, taken: 6, slow: 7 } as const
const WORDS = 8
const FDS_AT = WORDS * 4
const ATTRIBUTES_AT = FDS_AT + WINDOW * 4
const OFFSETS_AT = ATTRIBUTES_AT + WINDOW * 4
const STATUSES_AT = OFFSETS_AT + MAX_NAMES * 4
const NAMES_AT = STATUSES_AT + WINDOW * STATUS_BYTES

export function newAheadMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(NAMES_AT + NAMES_BYTES)
}

/** Ends the thread that opens, or the one that would. */
export function stopAhead(memory: SharedArrayBuffer): void {
  const words = new Int32Array(memory, 0, WORDS)
  Atomics.store(words, WORD.stop, 1)
  Atomics.notify(words, WORD.run)
  Atomics.notify(words, WORD.taken)
}

/** Numbers and names as both sides see them. */
export function aheadParts(memory: SharedArrayBuffer) {
  return {
    memory,
    words: new Int32Array(memory, 0, WORDS),
    fds: new Int32Array(memory, FDS_AT, WINDOW),
    attributes: new Int32Array(memory, ATTRIBUTES_AT, WINDOW),
    offsets: new Int32Array(memory, OFFSETS_AT, MAX_NAMES),
    statuses: Buffer.from(memory, STATUSES_AT, WINDOW * STATUS_BYTES),
    names: Buffer.from(memory, NAMES_AT, NAMES_BYTES),
  }
}

/** The side that reads: gives runs of names in one directory, and takes the files in their order. One thread opens what another reads. */
export class OpenAhead {
  readonly #parts
  readonly #throwIfStopped: () => void
  #taken = 0
  #count = 0

  constructor(memory: SharedArrayBuffer, throwIfStopped: () => void) {
    this.#parts = aheadParts(memory)
    this.#throwIfStopped = throwIfStopped
  }

  /** The other thread has begun. */
  get isThere(): boolean {
    return Atomics.load(this.#parts.words, WORD.ready) === 1
  }
  /** Files are left to be taken. */
  get isRunning(): boolean {
    return this.#taken < this.#count
  }
  /** Files come from a disk: the kernel is asked to begin. */
  set isSlow(isSlow: boolean) {
    Atomics.store(this.#parts.words, WORD.slow, isSlow ? 1 : 0)
  }

  /** @param directoryFd open until all are taken @param nameAt undefined at the run's end, which may come sooner */
  begin(directoryFd: number, nameAt: (index: number) => string | undefined): void {
    const { words, names, offsets } = this.#parts
    let used = 0
    let count = 0
    for (let name = nameAt(0); name !== undefined && count < MAX_NAMES; name = nameAt(count)) {
      if (used + name.length + 1 > NAMES_BYTES) break
      offsets[count] = used
      used += names.write(name, used, 'latin1')
      names[used] = 0
      used += 1
      count += 1
    }
    this.#taken = 0
    this.#count = count
    words[WORD.count] = count
    words[WORD.directory] = directoryFd
    Atomics.store(words, WORD.opened, 0)
    Atomics.store(words, WORD.taken, 0)
    Atomics.add(words, WORD.run, 1)
    Atomics.notify(words, WORD.run)
  }

  /**
   * @param status becomes that of the file
   * @returns the descriptor, the caller's from now on (negative: to be opened by the caller, who then learns why) @throws cancelled
   */
  take(status: Status): { readonly fd: number; readonly hasNoAttributes: boolean } {
    const { words, fds, attributes, statuses } = this.#parts
    for (let opened = this.#opened(); opened <= this.#taken; opened = this.#opened()) {
      this.#throwIfStopped()
      Atomics.wait(words, WORD.opened, opened, LOOK_MS)
    }
    const slot = this.#taken % WINDOW
    const file = { fd: fds[slot] ?? -1, hasNoAttributes: attributes[slot] === 0 }
    if (file.fd >= 0) status.copyFrom(statuses, slot * STATUS_BYTES)
    this.#taken += 1
    Atomics.store(words, WORD.taken, this.#taken)
    if (this.#taken % WAKE_EVERY === 0) Atomics.notify(words, WORD.taken)
    return file
  }

  /** Ends the other thread: it opens nothing more below a directory that is closed then. */
  close(): void {
    const { words, memory } = this.#parts
    stopAhead(memory)
    while (this.isThere) Atomics.wait(words, WORD.ready, 1, LOOK_MS)
  }

  #opened(): number {
    return Atomics.load(this.#parts.words, WORD.opened)
  }
}
