import { FleetError } from '../../../shared/errors.ts'
import { type BytePath, displayPath } from '../byte-path.ts'
import type { Chain, ChainMember } from '../chain.ts'
import { type Member, storedName } from '../member.ts'
import type { Point } from '../point.ts'
import type { Send } from '../run-reader.ts'
import { LinkTable } from '../write/link-table.ts'
import type { GoneItem, ReadItem } from './read-worker.ts'

const ITEMS_AT_ONCE = 256
/** Of this many archives of a chain the reader keeps a frame; a longer chain reads some frames again. */
const MAX_OPEN = 6
/** Of a chain no longer than this, the next frame of each archive is read ahead. */
const MAX_AHEAD = 2

export interface PlanOptions {
  /** Read ahead beyond a member, as its neighbours are wanted too. */
  readonly sequential: boolean
  /** A damaged frame is told to the reader instead of ending the reading. */
  readonly tolerant: boolean
  /** Every member as it is stored: a hard link is only its header. */
  readonly asStored: boolean
  /** Of an empty unlinked file, for the names of files that have several. */
  readonly linkSpillFd: number
}

/**
 * Feeds members to a reading thread: each frame before the first member that begins in it, the frames of a long member
 * behind it. Members of one archive come in the archive's order, so each frame is read once.
 */
export class ReadPlan {
  readonly #chain: Chain
  readonly #send: Send
  readonly #signal: AbortSignal
  readonly #options: PlanOptions
  readonly #links: LinkTable
  readonly #sent = new Map<number, number>()
  /** By archive: where the member that was read last ends, and how much was read again for hard links. */
  readonly #ends = new Map<number, number>()
  readonly #repeated = new Map<number, number>()
  readonly #ahead = new Map<number, { readonly number: number; readonly bytes: Promise<Buffer> }>()
  #items: (ReadItem | GoneItem)[] = []

  constructor(chain: Chain, send: Send, signal: AbortSignal, options: PlanOptions) {
    this.#chain = chain
    this.#send = send
    this.#signal = signal
    this.#options = options
    this.#links = new LinkTable(options.linkSpillFd)
  }

  /** @param clear what of an older tree goes before it is made */
  async add(found: ChainMember, path: BytePath, clear?: ReadItem['clear']): Promise<void> {
    const { member, layer } = found
    const linkTo = this.#options.asStored ? undefined : this.#firstName(member, path)
    if (linkTo !== undefined) return this.#push({ ...itemOf(member, layer, path), linkTo, clear })
    if (member.patch !== undefined && !this.#options.asStored) return this.#addStack(found, path, clear)
    return this.#addContent(found, path, { clear })
  }

  /** A file's content is written over by each patch of it. */
  async #addStack(found: ChainMember, path: BytePath, clear: ReadItem['clear']): Promise<void> {
    const stack = await this.#chain.stack(found, this.#signal)
    for (const [at, each] of stack.entries()) {
      const part = { isFirst: at === 0, isLast: at === stack.length - 1 }
      await this.#addContent(each, path, { part, clear: part.isFirst ? clear : undefined })
    }
  }

  async #addContent(found: ChainMember, path: BytePath, how: Pick<ReadItem, 'part' | 'clear'>): Promise<void> {
    const { layer } = found
    const source = await this.#sourceOf(found)
    this.#bound(found, source)
    const point = this.#point(layer)
    const first = point.frameAt(source.offset)
    const last = point.frameAt(Math.max(source.offset, source.dataOffset + source.storedSize - 1))
    if (this.#sent.get(layer) !== first) await this.#sendFrame(layer, first, last)
    await this.#push({ ...itemOf(source, layer, path), ...how })
    if (last === first) return
    await this.flush()
    for (let number = first + 1; number <= last; number += 1) await this.#sendFrame(layer, number, last)
  }

  /** Of an older tree, in its place among the members. */
  async gone(path: BytePath): Promise<void> {
    await this.#push({ path, clear: 'gone' })
  }

  async flush(): Promise<void> {
    if (this.#items.length === 0) return
    const items = this.#items
    this.#items = []
    await this.#send({ kind: 'items', items })
  }

  /**
   * An index may not make more of an archive than it holds: members follow each other, and what hard links repeat is no more
   * than all there is. @throws corrupt, too_large
   */
  #bound({ member, layer }: ChainMember, source: Member): void {
    if (source === member) {
      if (member.offset < (this.#ends.get(layer) ?? 0))
        throw new FleetError('corrupt', `member '${displayPath(member.path)}': the index names its bytes twice`)
      this.#ends.set(layer, member.dataOffset + member.storedSize)
      return
    }
    const repeated = (this.#repeated.get(layer) ?? 0) + source.storedSize
    this.#repeated.set(layer, repeated)
    if (repeated > this.#point(layer).table.totals.rawBytes)
      throw new FleetError(
        'too_large',
        `member '${displayPath(member.path)}': hard links repeat more than the archive holds`,
      )
  }

  /** Names of one file share inode and ctime, whichever archives of the chain hold them. */
  #firstName(member: Member, path: BytePath): BytePath | undefined {
    if (member.links < 2 || member.type === 'directory') return undefined
    const known = this.#links.find(member.inode)?.path
    const stamp = `${member.ctime} `
    if (known?.startsWith(stamp)) return known.slice(stamp.length)
    if (known === undefined) this.#links.remember(member.inode, { path: `${stamp}${path}`, offset: 0 })
    return undefined
  }

  /** A hard link's content is with the member that it repeats, which need not be in the tree any more. */
  async #sourceOf({ member, layer }: ChainMember): Promise<Member> {
    if (member.type !== 'hardlink' || this.#options.asStored) return member
    const source = await this.#point(layer).find(member.link ?? '', this.#signal)
    if (source !== undefined && source.offset === member.linkOffset) return source
    throw new FleetError(
      'corrupt',
      `member '${displayPath(member.path)}': the file that it repeats is not in the archive`,
    )
  }

  async #push(item: ReadItem | GoneItem): Promise<void> {
    this.#items.push(item)
    if (this.#items.length === ITEMS_AT_ONCE) await this.flush()
  }

  async #sendFrame(layer: number, number: number, last: number): Promise<void> {
    await this.flush()
    const point = this.#point(layer)
    const bytes = await this.#frameBytes(layer, number, last)
    await this.#keep(layer, number)
    const rawOffset = point.table.data[number]?.rawOffset ?? 0
    const owned = bytes === undefined ? undefined : ownMemory(bytes)
    await this.#send({ kind: 'frame', layer, rawOffset, bytes: owned }, owned === undefined ? [] : [owned.buffer])
  }

  /** The archive that was used last stands last. */
  async #keep(layer: number, number: number): Promise<void> {
    this.#sent.delete(layer)
    this.#sent.set(layer, number)
    if (this.#sent.size <= MAX_OPEN) return
    for (const oldest of this.#sent.keys()) {
      this.#sent.delete(oldest)
      return this.#send({ kind: 'forget', layer: oldest })
    }
  }

  async #frameBytes(layer: number, number: number, last: number): Promise<Buffer | undefined> {
    const ahead = this.#ahead.get(layer)
    this.#ahead.delete(layer)
    const point = this.#point(layer)
    const bytes = ahead?.number === number ? ahead.bytes : point.frame(number, this.#signal)
    const next = number + 1
    const isAhead = this.#options.sequential && this.#chain.points.length <= MAX_AHEAD
    if (next <= last || (isAhead && next < point.table.data.length)) {
      const nextBytes = point.frame(next, this.#signal)
      nextBytes.catch(() => undefined) // told by whoever awaits it
      this.#ahead.set(layer, { number: next, bytes: nextBytes })
    }
    try {
      return await bytes
    } catch (error) {
      if (this.#options.tolerant && error instanceof FleetError && error.code === 'corrupt') return undefined
      throw error
    }
  }

  #point(layer: number): Point {
    const point = this.#chain.points[layer]
    if (point === undefined) throw new FleetError('internal', 'no such point in the chain')
    return point
  }
}

function itemOf(source: Member, layer: number, path: BytePath): ReadItem {
  const { offset, hash } = source
  return { path, layer, offset, storedName: storedName(source), storedType: source.type, hash, linkTo: undefined }
}

/** Small Buffers share memory that cannot be given away. */
function ownMemory(bytes: Buffer): Uint8Array<ArrayBuffer> {
  const { buffer, byteOffset, byteLength } = bytes
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength)
    return new Uint8Array(buffer, byteOffset, byteLength)
  return new Uint8Array(bytes)
}
