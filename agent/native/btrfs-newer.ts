import { type InodeName, ITEM_BYTES, KEY_BYTES, TREE_SEARCH_V2 } from './btrfs-names.ts'
import { settled } from './file-system.ts'
import { libc } from './libc.ts'

/** btrfs_tree.h */
const INODE_ITEM = 1
const INODE_REF = 12
const FIRST_INODE = 256n
const ALL = 2n ** 64n - 1n
const HIGH = 2 ** 32
const S_IFMT = 0o170000
const S_IFDIR = 0o040000
/** A node of a tree has 16 KiB: so many at a time that calls cost little beside what they find. */
const BUFFER_BYTES = 2 ** 19

/** An inode that was changed, or made. */
export interface NewerInode {
  readonly inode: number
  readonly isDirectory: boolean
  /** How many names it has. */
  readonly links: number
  /** Of a file with one name, where it stands beside the inode. */
  readonly name: InodeName | undefined
}

/**
 * Finds inodes of a subvolume that something happened to in transactions behind `transid`: every change of content or metadata, and of a directory's
 * entries, leaves its transaction's number in the inode. Only nodes of the tree that were written since are read, on a thread of libuv's pool.
 * What is gone is told by nothing but the directory that it was in.
 * @param fd of any file or directory in the subvolume, not O_PATH @returns by ascending number, in pieces @throws SystemError
 */
export async function* newerInodes(fd: number, transid: number): AsyncGenerator<readonly NewerInode[]> {
  const args = Buffer.alloc(KEY_BYTES + 8 + BUFFER_BYTES)
  for (let from = { inode: FIRST_INODE, type: 0, offset: 0n }; ; ) {
    prepare(args, from, transid)
    await settled('TREE_SEARCH_V2', (done) => libc().ioctlBuffer.async(fd, TREE_SEARCH_V2, args, done))
    const { found, last } = parse(args, transid)
    if (found.length > 0) yield found
    if (last === undefined) return
    if (last.offset < ALL) from = { ...last, offset: last.offset + 1n }
    else if (last.type < 0xff) from = { ...last, type: last.type + 1, offset: 0n }
    else from = { inode: last.inode + 1n, type: 0, offset: 0n }
  }
}

interface Key {
  readonly inode: bigint
  readonly type: number
  readonly offset: bigint
}

/** `struct btrfs_ioctl_search_key`: the tree of the descriptor, from this key on, in nodes that are newer. */
function prepare(args: Buffer, { inode, type, offset }: Key, transid: number): void {
  const words = [0n, inode, ALL, offset, ALL, BigInt(transid) + 1n, ALL]
  for (const [index, word] of words.entries()) args.writeBigUInt64LE(word, index * 8)
  args.writeUInt32LE(type, 56)
  args.writeUInt32LE(0xff, 60)
  args.writeUInt32LE(0xffffffff, 64)
  args.writeBigUInt64LE(BigInt(BUFFER_BYTES), KEY_BYTES)
}

/** Nodes hold older inodes too, and much else. */
function parse(
  args: Buffer,
  transid: number,
): { readonly found: readonly NewerInode[]; readonly last: Key | undefined } {
  const found: NewerInode[] = []
  const count = args.readUInt32LE(64)
  let at = KEY_BYTES + 8
  let header = at
  let current: NewerInode | undefined
  for (let item = 0; item < count; item += 1) {
    header = at
    const [type, start] = [args.readUInt32LE(at + 24), at + ITEM_BYTES]
    at = start + args.readUInt32LE(at + 28)
    if (type === INODE_ITEM) {
      current = unsigned(args, start + 8) > transid ? inodeOf(args, unsigned(args, header + 8), start) : undefined
      if (current !== undefined) found.push(current)
    } else if (type === INODE_REF && current?.links === 1 && current.inode === unsigned(args, header + 8)) {
      found[found.length - 1] = { ...current, name: nameOf(args, unsigned(args, header + 16), start) }
    }
  }
  if (count === 0) return { found, last: undefined }
  const [inode, offset] = [args.readBigUInt64LE(header + 8), args.readBigUInt64LE(header + 16)]
  return { found, last: { inode, type: args.readUInt32LE(header + 24), offset } }
}

/** `struct btrfs_inode_item`: its transaction stands at 8, the number of names at 40, the mode at 52. */
function inodeOf(bytes: Buffer, inode: number, start: number): NewerInode {
  const isDirectory = (bytes.readUInt32LE(start + 52) & S_IFMT) === S_IFDIR
  return { inode, isDirectory, links: bytes.readUInt32LE(start + 40), name: undefined }
}

/** The first of a `struct btrfs_inode_ref`. */
function nameOf(bytes: Buffer, directory: number, start: number): InodeName {
  const nameStart = start + 10
  return { directory, name: bytes.toString('latin1', nameStart, nameStart + bytes.readUInt16LE(start + 8)) }
}

function unsigned(bytes: Buffer, offset: number): number {
  return bytes.readUInt32LE(offset + 4) * HIGH + bytes.readUInt32LE(offset)
}
