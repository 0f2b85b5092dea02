import { parentPort, workerData } from 'node:worker_threads'
import { addressOf, libc } from '../../native/libc.ts'
import { close, tryOpenBeneath } from '../../native/paths.ts'
import { STATUS_BYTES, Status } from '../../native/status.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import { aheadParts, LOOK_MS, WAKE_EVERY, WINDOW, WORD } from './open-ahead.ts'
import { askForContent, READ_FILE } from './read-file.ts'

/** Enough to learn that a file has no attributes. */
const ATTRIBUTE_BYTES = 1_024

/** Opens one run of files after the other, a window ahead of who takes them, until it is stopped. Descriptors are the process's. */
class Opener {
  readonly #parts
  readonly #namesAddress: number
  readonly #status = new Status()
  readonly #attributes = Buffer.allocUnsafeSlow(ATTRIBUTE_BYTES)

  constructor(memory: SharedArrayBuffer) {
    this.#parts = aheadParts(memory)
    this.#namesAddress = addressOf(this.#parts.names)
  }

  work(): void {
    const { words } = this.#parts
    Atomics.store(words, WORD.ready, 1)
    for (let seen = 0; !this.#isStopped; ) {
      const run = Atomics.load(words, WORD.run)
      if (run === seen) Atomics.wait(words, WORD.run, seen, LOOK_MS)
      else this.#open()
      seen = run
    }
    Atomics.store(words, WORD.ready, 0)
    Atomics.notify(words, WORD.ready)
  }

  get #isStopped(): boolean {
    return Atomics.load(this.#parts.words, WORD.stop) === 1
  }

  #open(): void {
    const { words } = this.#parts
    const [count, directoryFd] = [words[WORD.count] ?? 0, words[WORD.directory] ?? -1]
    let opened = 0
    for (; opened < count; ) {
      if (!this.#waitForRoom(opened)) break
      this.#openNext(directoryFd, opened)
      opened += 1
      Atomics.store(words, WORD.opened, opened)
      if (opened % WAKE_EVERY === 0 || opened === count) Atomics.notify(words, WORD.opened)
    }
    // Stopped in the middle: nobody takes the rest.
    if (opened < count || this.#isStopped) this.#closeFrom(Atomics.load(words, WORD.taken), opened)
  }

  /** @returns false when it is stopped */
  #waitForRoom(opened: number): boolean {
    const { words } = this.#parts
    for (let taken = Atomics.load(words, WORD.taken); ; taken = Atomics.load(words, WORD.taken)) {
      if (this.#isStopped) return false
      if (opened - taken < WINDOW) return true
      Atomics.wait(words, WORD.taken, taken, LOOK_MS)
    }
  }

  #openNext(directoryFd: number, index: number): void {
    const { words, fds, offsets } = this.#parts
    const slot = index % WINDOW
    const fd = tryOpenBeneath(directoryFd, this.#namesAddress + (offsets[index] ?? 0), READ_FILE)
    fds[slot] = fd
    if (fd < 0) return
    if (words[WORD.slow] === 1) askForContent(fd)
    if (this.#look(fd, slot)) return
    // Whoever comes to it opens it anew, and tells what is wrong.
    fds[slot] = -1
    close(fd)
  }

  #look(fd: number, slot: number): boolean {
    const { attributes, statuses } = this.#parts
    try {
      this.#status.readDescriptor(fd).copyTo(statuses, slot * STATUS_BYTES)
    } catch (error) {
      if (errorCodeOf(error) === undefined) throw error
      return false
    }
    attributes[slot] = libc().flistxattr(fd, this.#attributes, ATTRIBUTE_BYTES)
    return true
  }

  #closeFrom(taken: number, opened: number): void {
    for (let index = taken; index < opened; index += 1) {
      const fd = this.#parts.fds[index % WINDOW] ?? -1
      if (fd >= 0) close(fd)
    }
  }
}

// write-thread.ts alone starts this file, with the memory of one archive.
if (parentPort !== null) new Opener(workerData as SharedArrayBuffer).work()
