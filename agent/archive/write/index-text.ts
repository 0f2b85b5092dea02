import type { BytePath } from '../byte-path.ts'

export interface IndexChunk {
  readonly type: 'index'
  /** Whole lines. */
  readonly text: Uint8Array<ArrayBuffer>
  readonly firstPath: BytePath
  readonly lines: number
}

/** Gathers lines until a frame of the index is full. Lines are ASCII or UTF-8 escaped by JSON. */
export class IndexText {
  readonly #chunkBytes: number
  readonly #send: (chunk: IndexChunk) => void
  #lines: string[] = []
  #length = 0
  #firstPath: BytePath = ''

  constructor(chunkBytes: number, send: (chunk: IndexChunk) => void) {
    this.#chunkBytes = chunkBytes
    this.#send = send
  }

  add(path: BytePath, line: string): void {
    if (this.#lines.length === 0) this.#firstPath = path
    this.#lines.push(line)
    this.#length += line.length
    if (this.#length >= this.#chunkBytes) this.flush()
  }

  flush(): void {
    if (this.#lines.length === 0) return
    const text = new TextEncoder().encode(this.#lines.join(''))
    this.#send({ type: 'index', text, firstPath: this.#firstPath, lines: this.#lines.length })
    this.#lines = []
    this.#length = 0
  }
}
