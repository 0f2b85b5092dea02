import { FleetError } from '../../shared/errors.ts'
import { type BytePath, comparePaths, displayPath, isWithin } from './byte-path.ts'
import { type IndexEntry, type Member, memberLine } from './member.ts'
import type { Point } from './point.ts'

const LINES_BYTES = 2 ** 18

/** A member of a tree and which archive of the chain holds it. */
export interface ChainMember {
  readonly member: Member
  /** Index into `Chain.points`. */
  readonly layer: number
}

/** What the archives behind one of a chain say of a path, the newest of them first. */
export interface LaterEntry {
  readonly entry: IndexEntry
  readonly layer: number
  /** What stood there when that one was written is not what the entry is of. A directory that stays one is not replaced. */
  readonly replaces: boolean
}

interface Shadow {
  readonly path: BytePath
  readonly layer: number
}

interface Cursor {
  readonly entries: AsyncGenerator<IndexEntry>
  entry: IndexEntry | undefined
}

/**
 * A full archive and its increments, read as the one tree that the last of them stands for: all indexes are in the same
 * order, so they are merged as they are read, and memory grows with the depth of the tree alone.
 */
export class Chain {
  /** Oldest first. */
  readonly points: readonly Point[]

  /** @throws invalid when the first is itself an increment */
  private constructor(points: readonly Point[]) {
    this.points = points
  }

  /** @throws invalid when the first is itself an increment, or one does not complete as many as stand before it */
  static of(points: readonly Point[]): Chain {
    const fits = points.every(({ table }, index) => table.totals.bases.length === index)
    if (points.length === 0 || !fits) throw new FleetError('invalid', 'these points are no chain')
    return new Chain(points)
  }

  /** One archive by itself, whatever it completes. */
  static ofOne(point: Point): Chain {
    return new Chain([point])
  }

  /** The tree's members in the order of the index, beginning with the first that is not before `from`. */
  async *members(from: BytePath, signal: AbortSignal): AsyncGenerator<ChainMember> {
    const [only] = this.points
    if (only !== undefined && this.points.length === 1) {
      // Nothing hides anything.
      for await (const entry of only.entries(from, signal)) if (entry.type !== 'gone') yield { member: entry, layer: 0 }
      return
    }
    const shadows = await this.#shadowsAbove(from, signal)
    const cursors = await this.#cursors(from, signal)
    for await (const { entry, layer } of merged(cursors, shadows))
      if (entry.type !== 'gone') yield { member: entry, layer }
  }

  /** What it takes to come from the tree of one of the points to the last one's, in the order of the index; of it alone is read. */
  async *changesBehind(layer: number, signal: AbortSignal): AsyncGenerator<LaterEntry> {
    const first = layer + 1
    for await (const found of merged(await this.#cursors('', signal, first), []))
      yield { ...found, layer: first + found.layer }
  }

  async find(path: BytePath, signal: AbortSignal): Promise<ChainMember | undefined> {
    for await (const found of this.members(path, signal)) return found.member.path === path ? found : undefined
    return undefined
  }

  /**
   * What makes up the content of a member, the oldest first: what it was when it was stored whole, and the patches over that.
   * @throws corrupt
   */
  async stack(found: ChainMember, signal: AbortSignal): Promise<readonly ChainMember[]> {
    const stack = [found]
    const { path } = found.member
    for (let { member, layer } = found; member.patch !== undefined; ) {
      const below = await this.#fileBelow(path, layer, signal)
      const { depth, over } = member.patch
      if (below === undefined || below.member.hash !== over || (below.member.patch?.depth ?? 0) !== depth - 1)
        throw new FleetError('corrupt', `member '${displayPath(path)}': what it is a patch of is not in the chain`)
      stack.unshift(below)
      ;({ member, layer } = below)
    }
    return stack
  }

  /** The next archive below that tells of a path, where that is a file. */
  async #fileBelow(path: BytePath, above: number, signal: AbortSignal): Promise<ChainMember | undefined> {
    for (let layer = above - 1; layer >= 0; layer -= 1) {
      const member = await this.points[layer]?.find(path, signal)
      if (member !== undefined) return member.type === 'file' ? { member, layer } : undefined
    }
    return undefined
  }

  /** The merged index, as an increment on top of it is compared with it. Read anew each time it is iterated. */
  lines(signal: AbortSignal): AsyncIterable<Buffer> {
    return { [Symbol.asyncIterator]: () => this.#lines(signal) }
  }

  async *#lines(signal: AbortSignal): AsyncGenerator<Buffer> {
    const [only] = this.points
    if (only !== undefined && this.points.length === 1) return yield* only.lines(signal)
    let text = ''
    for await (const { member } of this.members('', signal)) {
      text += memberLine(member)
      if (text.length < LINES_BYTES) continue
      yield Buffer.from(text)
      text = ''
    }
    if (text !== '') yield Buffer.from(text)
  }

  /** When reading begins in the middle, what hides older members may stand before: at the directories above. */
  async #shadowsAbove(from: BytePath, signal: AbortSignal): Promise<Shadow[]> {
    const shadows: Shadow[] = []
    if (this.points.length === 1) return shadows
    for (let slash = from.indexOf('/'); slash >= 0; slash = from.indexOf('/', slash + 1)) {
      const path = from.slice(0, slash)
      for (const [layer, point] of this.points.entries()) {
        for await (const entry of point.entries(path, signal)) {
          if (entry.path === path && entry.type !== 'directory') shadows.push({ path, layer })
          break
        }
      }
    }
    return shadows
  }

  async #cursors(from: BytePath, signal: AbortSignal, first = 0): Promise<readonly Cursor[]> {
    return Promise.all(
      this.points.slice(first).map(async (point) => {
        const entries = point.entries(from, signal)
        return { entries, entry: await next(entries) }
      }),
    )
  }
}

/** The newest entry of each path that no archive behind its own hides; what is gone too. */
async function* merged(cursors: readonly Cursor[], shadows: Shadow[]): AsyncGenerator<LaterEntry> {
  try {
    for (let path = lowest(cursors); path !== undefined; path = lowest(cursors)) {
      while (shadows.length > 0 && !isWithin(path, shadows.at(-1)?.path ?? '')) shadows.pop()
      const found = newest(cursors, path)
      if (found !== undefined && !isHidden(shadows, path, found.layer)) yield found
      for (const [layer, cursor] of cursors.entries()) {
        if (cursor.entry?.path !== path) continue
        if (cursor.entry.type !== 'directory') shadows.push({ path, layer })
        cursor.entry = await next(cursor.entries)
      }
    }
  } finally {
    for (const { entries } of cursors) await entries.return(undefined)
  }
}

async function next(entries: AsyncGenerator<IndexEntry>): Promise<IndexEntry | undefined> {
  const { done, value } = await entries.next()
  return done === true ? undefined : value
}

function lowest(cursors: readonly Cursor[]): BytePath | undefined {
  let path: BytePath | undefined
  for (const { entry } of cursors) {
    if (entry !== undefined && (path === undefined || comparePaths(entry.path, path) < 0)) path = entry.path
  }
  return path
}

function newest(cursors: readonly Cursor[], path: BytePath): LaterEntry | undefined {
  const replaces = cursors.some(({ entry }) => entry?.path === path && entry.type !== 'directory')
  for (let layer = cursors.length - 1; layer >= 0; layer -= 1) {
    const entry = cursors[layer]?.entry
    if (entry?.path === path) return { entry, layer, replaces }
  }
  return undefined
}

function isHidden(shadows: readonly Shadow[], path: BytePath, layer: number): boolean {
  return shadows.some((shadow) => shadow.layer > layer && isWithin(path, shadow.path) && shadow.path !== path)
}
