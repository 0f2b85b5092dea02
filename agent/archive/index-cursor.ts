import { type BytePath, comparePaths } from './byte-path.ts'
import { parseJson, pathOfLine } from './member.ts'
import { lastNotAfter, type Point } from './point.ts'

/** A line of an index of which only its path and kind are looked at. */
export interface IndexLine {
  readonly path: BytePath
  /** As in the index: `d` a directory, `-` gone. */
  readonly type: unknown
  readonly text: string
}

/** Reads an index forwards, only the frames that are asked for, and parses few of their lines. */
export class IndexCursor {
  readonly #point: Point
  readonly #signal: AbortSignal
  #frame = -1
  #lines: readonly string[] = []
  #at = 0
  #current: IndexLine | undefined

  constructor(point: Point, signal: AbortSignal) {
    this.#point = point
    this.#signal = signal
  }

  /** Undefined behind the last line, and before the first `seek`. */
  get current(): IndexLine | undefined {
    return this.#current
  }

  /** Goes to the first line that is not before the path; never back. @throws corrupt, what the source throws */
  async seek(path: BytePath): Promise<void> {
    const frames = this.#point.table.index
    if (this.#frame >= frames.length || frames.length === 0) return
    if (this.#current !== undefined && comparePaths(this.#current.path, path) >= 0) return
    const frame = Math.max(lastNotAfter(frames, path), this.#frame, 0)
    if (frame !== this.#frame) await this.#load(frame)
    let [low, high] = [this.#at, this.#lines.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (comparePaths(lineOf(this.#lines[middle] ?? '').path, path) < 0) low = middle + 1
      else high = middle
    }
    await this.#stand(low)
  }

  async advance(): Promise<void> {
    await this.#stand(this.#at + 1)
  }

  async #stand(at: number): Promise<void> {
    this.#at = at
    while (this.#at >= this.#lines.length) {
      if (this.#frame + 1 >= this.#point.table.index.length) {
        this.#frame = this.#point.table.index.length
        this.#current = undefined
        return
      }
      await this.#load(this.#frame + 1)
    }
    this.#current = lineOf(this.#lines[this.#at] ?? '')
  }

  async #load(frame: number): Promise<void> {
    const text = await this.#point.indexText(frame, this.#signal)
    this.#lines = text
      .toString('utf8')
      .split('\n')
      .filter((line) => line !== '')
    this.#frame = frame
    this.#at = 0
  }
}

function lineOf(text: string): IndexLine {
  const line = parseJson(text)
  const path = pathOfLine(line)
  // as: an object, or pathOfLine had thrown
  return { path, type: (line as { readonly t?: unknown }).t, text }
}
