import { type BytePath, comparePaths, isWithin, parentOf } from './byte-path.ts'
import type { Chain } from './chain.ts'
import { IndexCursor, type IndexLine } from './index-cursor.ts'
import { lastNotAfter } from './point.ts'
import type { Wanted } from './wanted.ts'

/** Some fifty lines: whoever walks by them begins soon. */
const PIECE_CHARACTERS = 2 ** 14

interface Shadow {
  readonly path: BytePath
  readonly layer: number
}

/**
 * Of the chain's merged index (`Chain.lines`) only what stands at the wanted places, in its order: of each index only the frames
 * are read in which they are.
 */
export async function* changedLines(chain: Chain, wanted: Wanted, signal: AbortSignal): AsyncGenerator<Buffer> {
  let text = ''
  const merge = new LineMerge(chain, signal)
  let previous: BytePath | undefined
  for (const [index, path] of wanted.paths.entries()) {
    if (wanted.kinds[index] === 'rewritten') continue
    // What hides older layers may stand at the directories above; each is asked once, as places come in order.
    for (const directory of directoriesAbove(path, previous))
      for await (const _ of merge.at(directory, (found) => found === directory)) void _
    const isWanted =
      wanted.kinds[index] === 'subtree'
        ? (found: BytePath) => isWithin(found, path)
        : (found: BytePath) => found === path
    previous = path
    for await (const line of merge.at(path, isWanted)) {
      text += line
      if (text.length < PIECE_CHARACTERS) continue
      yield Buffer.from(text)
      text = ''
    }
  }
  if (text !== '') yield Buffer.from(text)
}

/** What is rewritten is not looked up, but what would tell of it is checked as if it were. @throws corrupt */
export async function checkRewritten({ points }: Chain, wanted: Wanted, signal: AbortSignal): Promise<void> {
  for (const point of points) {
    const frames = point.table.index
    let checked = -1
    for (const [index, path] of wanted.paths.entries()) {
      if (wanted.kinds[index] !== 'rewritten' || frames.length === 0) continue
      const frame = lastNotAfter(frames, path)
      if (frame !== checked) await point.checkIndex(frame, signal)
      checked = frame
    }
  }
}

/** From the top down, without the root, which hides nothing, and those that are above `previous` too. */
function directoriesAbove(path: BytePath, previous: BytePath | undefined): readonly BytePath[] {
  const directories: BytePath[] = []
  for (let directory = parentOf(path); directory !== ''; directory = parentOf(directory)) {
    if (previous !== undefined && isWithin(previous, directory)) break
    directories.push(directory)
  }
  return directories.reverse()
}

class LineMerge {
  readonly #cursors: readonly IndexCursor[]
  readonly #shadows: Shadow[] = []

  constructor(chain: Chain, signal: AbortSignal) {
    this.#cursors = chain.points.map((point) => new IndexCursor(point, signal))
  }

  /** The lines of members from `path` on, for as long as they are wanted. Paths come in order from call to call. */
  async *at(path: BytePath, isWanted: (path: BytePath) => boolean): AsyncGenerator<string> {
    for (const cursor of this.#cursors) await cursor.seek(path)
    for (;;) {
      const found = this.#lowest()
      if (found === undefined || !isWanted(found)) return
      while (this.#shadows.length > 0 && !isWithin(found, this.#shadows.at(-1)?.path ?? '')) this.#shadows.pop()
      const newest = this.#newest(found)
      if (newest !== undefined && newest.line.type !== '-' && !this.#isHidden(found, newest.layer))
        yield newest.line.text
      for (const [layer, cursor] of this.#cursors.entries()) {
        if (cursor.current?.path !== found) continue
        if (cursor.current.type !== 'd') this.#shadows.push({ path: found, layer })
        await cursor.advance()
      }
    }
  }

  #lowest(): BytePath | undefined {
    let lowest: BytePath | undefined
    for (const { current } of this.#cursors) {
      if (current !== undefined && (lowest === undefined || comparePaths(current.path, lowest) < 0))
        lowest = current.path
    }
    return lowest
  }

  #newest(path: BytePath): { readonly line: IndexLine; readonly layer: number } | undefined {
    const layer = this.#cursors.findLastIndex(({ current }) => current?.path === path)
    const line = this.#cursors[layer]?.current
    return line === undefined ? undefined : { line, layer }
  }

  #isHidden(path: BytePath, layer: number): boolean {
    return this.#shadows.some((shadow) => shadow.layer > layer && shadow.path !== path && isWithin(path, shadow.path))
  }
}
