import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readdirSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'

const SMALL_FILES = 100_000
const FILES_IN_DIRECTORY = 1_000
const SMALL_BYTES = 4_096
const LARGE_BYTES = 4 * 2 ** 30
const PIECE_BYTES = 2 ** 20
const TEXT_BYTES = 16 * 2 ** 20
const WORDS = 4_096
/** No two stretches of this length are the same, so nobody gains by finding repetitions across files. */
const UNIQUE_BYTES = 1_024
const CHANGED_SHARE = 0.01

export interface BenchTree {
  readonly title: string
  make(directory: string): void
  /** Rewrites a hundredth of it. @param turn makes it differ from the last time */
  change(directory: string, turn: number): void
}

/** The same pseudo-random numbers each time; below 2³². (xorshift, Marsaglia 2003) */
export function numbers(seed: number): () => number {
  let state = seed
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
}

/** Text of random words, which compresses to about a third. */
export class Text {
  readonly #next = numbers(0x2545f491)
  readonly #pool = Buffer.alloc(TEXT_BYTES)

  constructor() {
    const words = Array.from({ length: WORDS }, () =>
      this.#next()
        .toString(36)
        .slice(0, 2 + (this.#next() % 6)),
    )
    for (let used = 0; used < TEXT_BYTES; ) used += this.#pool.write(`${words[this.#next() % WORDS]} `, used, 'latin1')
  }

  fill(target: Buffer): void {
    const start = this.#next() % (TEXT_BYTES - target.length)
    this.#pool.copy(target, 0, start, start + target.length)
    for (let at = 0; at < target.length; at += UNIQUE_BYTES) target.write(this.#next().toString(16), at, 'latin1')
  }
}

function small(scale: number): BenchTree {
  const files = Math.round(SMALL_FILES * scale)
  const text = new Text()
  const content = Buffer.alloc(SMALL_BYTES)
  const pathOf = (directory: string, file: number) =>
    join(directory, `d${Math.floor(file / FILES_IN_DIRECTORY)}`, `file-${file}`)
  return {
    title: `${files} files of 4 KiB`,
    make(directory) {
      for (let file = 0; file < files; file += 1) {
        if (file % FILES_IN_DIRECTORY === 0) mkdirSync(join(pathOf(directory, file), '..'), { recursive: true })
        text.fill(content)
        writeFileSync(pathOf(directory, file), content)
      }
    },
    change(directory, turn) {
      for (let file = turn % 100; file < files; file += 1 / CHANGED_SHARE) {
        text.fill(content)
        writeFileSync(pathOf(directory, file), content)
      }
    },
  }
}

function large(scale: number): BenchTree {
  const pieces = Math.round((LARGE_BYTES / PIECE_BYTES) * scale)
  const text = new Text()
  const piece = Buffer.alloc(PIECE_BYTES)
  return {
    title: `one file of ${pieces} MiB`,
    make(directory) {
      mkdirSync(directory)
      const fd = openSync(join(directory, 'large'), 'w')
      for (let written = 0; written < pieces; written += 1) {
        text.fill(piece)
        writeSync(fd, piece)
      }
      closeSync(fd)
    },
    change(directory, turn) {
      const fd = openSync(join(directory, 'large'), 'r+')
      for (let at = turn % 100; at < pieces; at += 1 / CHANGED_SHARE) {
        text.fill(piece)
        writeSync(fd, piece, 0, PIECE_BYTES, at * PIECE_BYTES)
      }
      closeSync(fd)
    },
  }
}

/** What it has of `/usr` is copied, so that it can be changed and stands on the same disk as the rest. */
function usr(scale: number): BenchTree {
  const source = scale < 1 ? '/usr/bin' : '/usr'
  return {
    title: source,
    make: (directory) => void execFileSync('/bin/cp', ['-a', source, directory]),
    change(directory, turn) {
      const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
      for (const [number, { parentPath, name }] of files.entries()) {
        if (number % (1 / CHANGED_SHARE) === turn % 100)
          writeFileSync(join(parentPath, name), `changed ${turn} ${number}`)
      }
    },
  }
}

export function benchTrees(scale: number): readonly BenchTree[] {
  return [small(scale), large(scale), usr(scale)]
}
