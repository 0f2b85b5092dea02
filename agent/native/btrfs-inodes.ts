import { ITEM_BYTES, KEY_BYTES, TREE_SEARCH_V2 } from './btrfs-names.ts'
import { libc } from './libc.ts'
import type { Status } from './status.ts'
import { checked } from './system-error.ts'

/** btrfs_tree.h */
const INODE_ITEM = 1
const XATTR_ITEM = 24
const INODE_BYTES = 160
const ALL = 2n ** 64n - 1n
const HIGH = 2 ** 32
/** Of one answer: as much as a thousand small files need. */
const ANSWER_BYTES = 2 ** 19
/** No item is larger, as nodes of trees have 64 KiB at the most: an answer with more room than this left is whole. */
const ITEM_MOST_BYTES = 2 ** 16 + ITEM_BYTES
/** How many numbers are asked for at once at first, and at the most. */
const FIRST_SPAN = 1_024
const MOST_SPAN = 2 ** 20
/** What btrfs counts as allocated of a file whose content lies in the tree itself is its length. */
const SECTOR_BYTES = 4_096

/**
 * Reads what is known of many inodes of a subvolume at once, straight from its tree: the kernel makes no inode in memory for any of them.
 * For snapshots that nobody writes to: what has not reached the tree yet is not seen. Owns its memory; one a thread.
 */
export class InodeItems {
  readonly #args = Buffer.alloc(KEY_BYTES + 8 + ANSWER_BYTES)
  readonly #items: Buffer
  readonly #hasAttributes: Uint8Array
  /** Where the item of an inode lies, counted in items. */
  readonly #places = new Map<number, number>()
  #span = FIRST_SPAN
  /** The inode whose items are taken: its place, negative where it was not asked for; and the first that may come next. */
  #place = -1
  #next = 0

  /** @param most inodes at once */
  constructor(most: number) {
    this.#items = Buffer.alloc(most * INODE_BYTES)
    this.#hasAttributes = new Uint8Array(most)
  }

  /**
   * Forgets what it knew. @param fd of any file or directory in the subvolume, not O_PATH @param inodes ascending, no more than the most
   * @throws SystemError
   */
  load(fd: number, inodes: Float64Array): void {
    this.#places.clear()
    this.#place = -1
    this.#next = 0
    const end = inodes.at(-1) ?? 0
    let from: Key | undefined = { inode: inodes[0] ?? 0, type: 0, offset: 0n }
    while (from !== undefined) {
      const last = Math.min(from.inode + this.#span, end)
      prepare(this.#args, from, last)
      checked('TREE_SEARCH_V2', libc().ioctlBuffer(fd, TREE_SEARCH_V2, this.#args))
      from = this.#take(inodes, last)
    }
  }

  /**
   * @param status becomes that of the inode, but for the times of access and birth and the device
   * @returns whether it has extended attributes, ACLs among them; undefined where nothing is known of it
   */
  read(inode: number, status: Status): boolean | undefined {
    const place = this.#places.get(inode)
    if (place === undefined) return undefined
    const [items, at] = [this.#items, place * INODE_BYTES]
    status.assign({
      inode,
      mode: items.readUInt32LE(at + 52),
      links: items.readUInt32LE(at + 40),
      uid: items.readUInt32LE(at + 44),
      gid: items.readUInt32LE(at + 48),
      sizeBytes: unsigned(items, at + 16),
      allocatedBytes: Math.ceil(unsigned(items, at + 24) / SECTOR_BYTES) * SECTOR_BYTES,
      changed: { seconds: signed(items, at + 124), nanoseconds: items.readUInt32LE(at + 132) },
      modified: { seconds: signed(items, at + 136), nanoseconds: items.readUInt32LE(at + 144) },
    })
    return this.#hasAttributes[place] === 1
  }

  /** Takes one answer, which may begin and end among the items of one inode. @returns where to go on; undefined at the end */
  #take(inodes: Float64Array, last: number): Key | undefined {
    const args = this.#args
    const count = args.readUInt32LE(64)
    const known = this.#places.size
    let [seen, header, at] = [0, 0, KEY_BYTES + 8]
    for (let item = 0; item < count; item += 1) {
      header = at
      const [type, start] = [args.readUInt32LE(at + 24), at + ITEM_BYTES]
      at = start + args.readUInt32LE(at + 28)
      if (type === INODE_ITEM) {
        seen += 1
        this.#begin(unsigned(args, header + 8), start, inodes)
      } else if (type === XATTR_ITEM && this.#place >= 0) this.#hasAttributes[this.#place] = 1
    }
    this.#adapt(seen, this.#places.size - known)
    const isWhole = args.length - at >= ITEM_MOST_BYTES
    const [inode, type] = isWhole ? [last, XATTR_ITEM] : [unsigned(args, header + 8), args.readUInt32LE(header + 24)]
    if (type < XATTR_ITEM) return { inode, type, offset: args.readBigUInt64LE(header + 16) + 1n }
    const next = inodes[firstAbove(inodes, this.#next, inode)]
    return next === undefined ? undefined : { inode: next, type: 0, offset: 0n }
  }

  #begin(inode: number, start: number, inodes: Float64Array): void {
    this.#next = firstAbove(inodes, this.#next, inode - 1)
    this.#place = inodes[this.#next] === inode ? this.#next : -1
    if (this.#place < 0) return
    this.#args.copy(this.#items, this.#place * INODE_BYTES, start, start + INODE_BYTES)
    this.#hasAttributes[this.#place] = 0
    this.#places.set(inode, this.#place)
  }

  /** Of numbers that lie far apart nothing between them is read. */
  #adapt(seen: number, wanted: number): void {
    if (wanted * 2 >= seen) this.#span = Math.min(2 * this.#span + 1, MOST_SPAN)
    else if (wanted * 4 < seen) this.#span = Math.floor(this.#span / 2)
  }
}

interface Key {
  readonly inode: number
  readonly type: number
  readonly offset: bigint
}

/** `struct btrfs_ioctl_search_key`: the tree of the descriptor, from this key to the attributes of the last inode. */
function prepare(args: Buffer, { inode, type, offset }: Key, last: number): void {
  const words = [0n, BigInt(inode), BigInt(last), offset, ALL, 0n, ALL]
  for (const [index, word] of words.entries()) args.writeBigUInt64LE(word, index * 8)
  args.writeUInt32LE(type, 56)
  args.writeUInt32LE(XATTR_ITEM, 60)
  args.writeUInt32LE(0xffffffff, 64)
  args.writeBigUInt64LE(BigInt(ANSWER_BYTES), KEY_BYTES)
}

/** @returns the first place from `start` on whose number is above; the length when there is none */
function firstAbove(inodes: Float64Array, start: number, inode: number): number {
  let place = start
  while (place < inodes.length && (inodes[place] ?? 0) <= inode) place += 1
  return place
}

function unsigned(bytes: Buffer, offset: number): number {
  return bytes.readUInt32LE(offset + 4) * HIGH + bytes.readUInt32LE(offset)
}

function signed(bytes: Buffer, offset: number): number {
  return bytes.readInt32LE(offset + 4) * HIGH + bytes.readUInt32LE(offset)
}
