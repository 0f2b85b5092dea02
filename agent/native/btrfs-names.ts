import { SUBVOLUME_ROOT_INODE } from './btrfs.ts'
import { libc } from './libc.ts'
import { checked } from './system-error.ts'

/**
 * linux/btrfs.h and btrfs_tree.h: _IOWR(0x94, 17) with a key of 104 bytes, the buffer's size and the buffer (Linux 3.14;
 * needs CAP_SYS_ADMIN). Numbers of inodes fit a double until 2^53.
 */
export const TREE_SEARCH_V2 = 0xc0709411
const INODE_REF = 12
const INODE_EXTREF = 13
export const KEY_BYTES = 104
export const ITEM_BYTES = 32
/** Larger than any item: nodes of trees have 64 KiB at the most. */
const BUFFER_BYTES = 2 ** 17
const ALL = 2n ** 64n - 1n
const MAX_DEPTH = 4_096

/** A name in a directory, one character a byte. */
export interface InodeName {
  readonly directory: number
  readonly name: string
}

/** Finds every name of an inode of one subvolume, without a walk. Owns its buffer: one call at a time. */
export class SubvolumeNames {
  readonly #fd: number
  readonly #args = Buffer.alloc(KEY_BYTES + 8 + BUFFER_BYTES)
  readonly #directories = new Map<number, string>([[SUBVOLUME_ROOT_INODE, '']])

  /** @param fd of any file or directory in the subvolume, not O_PATH; stays open */
  constructor(fd: number) {
    this.#fd = fd
  }

  /** Paths below the subvolume's root, one character a byte. @throws SystemError */
  pathsOf(inode: number): readonly string[] {
    return this.#namesOf(inode).map((name) => this.pathOf(name))
  }

  /** The path of a name that is known already. @throws SystemError */
  pathOf({ directory, name }: InodeName): string {
    return join(this.#directoryPath(directory), name)
  }

  #directoryPath(inode: number, depth = 0): string {
    const known = this.#directories.get(inode)
    if (known !== undefined) return known
    const [entry] = this.#namesOf(inode)
    if (entry === undefined || depth === MAX_DEPTH) throw new Error(`inode ${inode} of the subvolume has no name`)
    const path = join(this.#directoryPath(entry.directory, depth + 1), entry.name)
    this.#directories.set(inode, path)
    return path
  }

  #namesOf(inode: number): readonly InodeName[] {
    const names: InodeName[] = []
    for (let from = { type: INODE_REF, offset: 0n }; ; ) {
      const last = this.#search(inode, from, names)
      if (last === undefined || last.offset === ALL) return names
      from = { type: last.type, offset: last.offset + 1n }
    }
  }

  /** @returns the key of the last item found; undefined when there was none */
  #search(
    inode: number,
    from: { readonly type: number; readonly offset: bigint },
    names: InodeName[],
  ): { readonly type: number; readonly offset: bigint } | undefined {
    const args = this.#args
    const words = [0n, BigInt(inode), BigInt(inode), from.offset, ALL, 0n, ALL]
    for (const [index, word] of words.entries()) args.writeBigUInt64LE(word, index * 8)
    args.writeUInt32LE(from.type, 56)
    args.writeUInt32LE(INODE_EXTREF, 60)
    args.writeUInt32LE(0xffffffff, 64)
    args.writeBigUInt64LE(BigInt(BUFFER_BYTES), KEY_BYTES)
    checked('TREE_SEARCH_V2', libc().ioctlBuffer(this.#fd, TREE_SEARCH_V2, args))
    const count = args.readUInt32LE(64)
    let last: { readonly type: number; readonly offset: bigint } | undefined
    for (let item = 0, at = KEY_BYTES + 8; item < count; item += 1) {
      const [offset, type] = [args.readBigUInt64LE(at + 16), args.readUInt32LE(at + 24)]
      const start = at + ITEM_BYTES
      at = start + args.readUInt32LE(at + 28)
      names.push(
        ...(type === INODE_REF
          ? plainNames(args, { start, end: at }, Number(offset))
          : longNames(args, { start, end: at })),
      )
      last = { type, offset }
    }
    return last
  }
}

interface Span {
  readonly start: number
  readonly end: number
}

/** `struct btrfs_inode_ref`: index (64 bits), length of the name (16), the name; the directory is the key's offset. */
function* plainNames(bytes: Buffer, { start, end }: Span, directory: number): Generator<InodeName> {
  for (let at = start; at < end; ) {
    const next = at + 10 + bytes.readUInt16LE(at + 8)
    yield { directory, name: bytes.toString('latin1', at + 10, next) }
    at = next
  }
}

/** `struct btrfs_inode_extref`: directory (64 bits), index (64), length of the name (16), the name. */
function* longNames(bytes: Buffer, { start, end }: Span): Generator<InodeName> {
  for (let at = start; at < end; ) {
    const next = at + 18 + bytes.readUInt16LE(at + 16)
    yield { directory: Number(bytes.readBigUInt64LE(at)), name: bytes.toString('latin1', at + 18, next) }
    at = next
  }
}

function join(directory: string, name: string): string {
  return directory === '' ? name : `${directory}/${name}`
}
