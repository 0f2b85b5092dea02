import type { BytePath } from '../byte-path.ts'

export interface IndexChunk {
  readonly type: 'index'
  /** Whole lines. */
  readonly text: Uint8Array<ArrayBuffer>
  readonly firstPath: BytePath
  readonly lines: number
}

/** One character of JSON is at most three bytes of UTF-8. */
const BYTES_A_CHARACTER = 3

/** Gathers lines until a frame of the index is full. They are bytes at once: thousands of strings that wait would be moved by every collection. */
export class IndexText {
  readonly #chunkBytes: number
  readonly #send: (chunk: IndexChunk) => void
  #text: Buffer
  #used = 0
  #lines = 0
  #firstPath: BytePath = ''

  constructor(chunkBytes: number, send: (chunk: IndexChunk) => void) {
    this.#chunkBytes = chunkBytes
    this.#send = send
    this.#text = Buffer.allocUnsafeSlow(chunkBytes)
  }

  add(path: BytePath, line: string): void {
    if (this.#lines === 0) this.#firstPath = path
    const most = this.#used + line.length * BYTES_A_CHARACTER
    if (most > this.#text.length) this.#grow(most)
    this.#used += this.#text.write(line, this.#used)
    this.#lines += 1
    if (this.#used >= this.#chunkBytes) this.flush()
  }

  flush(): void {
    if (this.#lines === 0) return
    const text = new Uint8Array(this.#text.subarray(0, this.#used))
    this.#send({ type: 'index', text, firstPath: this.#firstPath, lines: this.#lines })
    this.#used = 0
    this.#lines = 0
  }

  #grow(bytes: number): void {
    const larger = Buffer.allocUnsafeSlow(bytes)
    this.#text.copy(larger, 0, 0, this.#used)
    this.#text = larger
  }
}
