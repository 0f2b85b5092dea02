import { release } from '../native/release.ts'

/** Memory of a frame that several may read. It is given back once nobody holds it: a collector would come by when there are 64 MiB of it. */
export class HeldBytes implements Disposable {
  readonly bytes: Buffer
  #holders = 1

  /** Held by its maker. */
  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  /** For one more, who disposes of it as well. */
  hold(): this {
    this.#holders += 1
    return this
  }

  [Symbol.dispose](): void {
    this.#holders -= 1
    if (this.#holders === 0) release(this.bytes)
  }
}
