import { type BytePath, comparePaths } from './byte-path.ts'
import type { HeldBytes } from './held-bytes.ts'
import { parseJson, pathOfLine } from './member.ts'
import { lastNotAfter, type Point } from './point.ts'

const NEWLINE = 0x0a

/** A line of an index of which only its path and kind are looked at. */
export interface IndexLine {
  readonly path: BytePath
  /** As in the index: `d` a directory, `-` gone. */
  readonly type: unknown
  /** With its newline. */
  readonly text: string
}

/** Reads an index forwards, only the frames that are asked for, and parses few of their lines. */
export class IndexCursor {
  readonly #point: Point
  readonly #signal: AbortSignal
  #frame = -1
  /** What a cursor that nobody moves any more held is left to the collector. */
  #held: HeldBytes | undefined
  #text: Buffer = Buffer.alloc(0)
  /** Where the current line begins and where it ends, its newline included. */
  #start = 0
  #end = 0
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
    let [low, high] = [this.#start, this.#text.length]
    while (low < high) {
      const middle = (low + high) >> 1
      const start = middle === low ? low : Math.max(low, this.#text.lastIndexOf(NEWLINE, middle - 1) + 1)
      const end = this.#endOf(start)
      if (comparePaths(lineOf(this.#text.toString('utf8', start, end)).path, path) < 0) low = end
      else high = start
    }
    await this.#stand(low)
  }

  async advance(): Promise<void> {
    await this.#stand(this.#end)
  }

  async #stand(start: number): Promise<void> {
    this.#start = start
    while (this.#start >= this.#text.length) {
      if (this.#frame + 1 >= this.#point.table.index.length) {
        this.#frame = this.#point.table.index.length
        this.#current = undefined
        return
      }
      await this.#load(this.#frame + 1)
    }
    this.#end = this.#endOf(this.#start)
    this.#current = lineOf(this.#text.toString('utf8', this.#start, this.#end))
  }

  /** Behind the newline; the last line of a frame need not have one. */
  #endOf(start: number): number {
    const newline = this.#text.indexOf(NEWLINE, start)
    return newline < 0 ? this.#text.length : newline + 1
  }

  async #load(frame: number): Promise<void> {
    const held = await this.#point.indexText(frame, this.#signal)
    this.#held?.[Symbol.dispose]()
    this.#held = held
    this.#text = held.bytes
    this.#frame = frame
    this.#start = 0
  }
}

function lineOf(text: string): IndexLine {
  const line = parseJson(text)
  const path = pathOfLine(line)
  // as: an object, or pathOfLine had thrown
  return { path, type: (line as { readonly t?: unknown }).t, text: text.endsWith('\n') ? text : `${text}\n` }
}
