import { constants } from 'node:fs'
import { type CString, cString, libc } from './libc.ts'
import { checked, lastErrorCode } from './system-error.ts'

const AT_EMPTY_PATH = 0x1000
const AT_SYMLINK_NOFOLLOW = 0x100
/** STATX_BASIC_STATS | STATX_BTIME */
const MASK = 0x0fff
const STATX_BTIME = 0x800
const STATUS_BYTES = 256
/** Of ctime and size. */
const CONTENT_WORDS = [96, 100, 104, 40, 44] as const
const EMPTY_PATH = cString('')
const HIGH = 2 ** 32

export type FileKind = 'file' | 'directory' | 'symlink' | 'fifo' | 'character' | 'block' | 'socket'

const KINDS: Readonly<Record<number, FileKind>> = {
  [constants.S_IFREG]: 'file',
  [constants.S_IFDIR]: 'directory',
  [constants.S_IFLNK]: 'symlink',
  [constants.S_IFIFO]: 'fifo',
  [constants.S_IFCHR]: 'character',
  [constants.S_IFBLK]: 'block',
  [constants.S_IFSOCK]: 'socket',
}

/** Decimal seconds since the epoch with nine places, as pax writes a time; the kernel counts nanoseconds upwards before 1970 too. */
export function timeText(seconds: number, nanoseconds: number): string {
  if (seconds >= 0 || nanoseconds === 0) return `${seconds}.${String(nanoseconds).padStart(9, '0')}`
  return `-${-(seconds + 1)}.${String(1e9 - nanoseconds).padStart(9, '0')}`
}

/** Since the epoch; nanoseconds count upwards before it too. */
export interface Instant {
  readonly seconds: number
  readonly nanoseconds: number
}

export interface ToldStatus {
  readonly inode: number
  /** Kind and permissions, as in `st_mode`. */
  readonly mode: number
  readonly links: number
  readonly uid: number
  readonly gid: number
  readonly sizeBytes: number
  readonly allocatedBytes: number
  readonly changed: Instant
  readonly modified: Instant
}

/**
 * `struct statx` (linux/stat.h; the same on every architecture), filled again and again by whoever owns it, because a walk
 * over a million files should allocate none.
 */
export class Status {
  readonly #bytes = Buffer.alloc(STATUS_BYTES)

  /** @throws SystemError */
  readDescriptor(fd: number): this {
    checked('statx', libc().statx(fd, EMPTY_PATH, AT_EMPTY_PATH, MASK, this.#bytes))
    return this
  }

  /** Of the name itself, never of what a link points to. @returns undefined when it is absent */
  readName(directoryFd: number, name: CString): this | undefined {
    const result = libc().statx(directoryFd, name, AT_SYMLINK_NOFOLLOW, MASK, this.#bytes)
    if (result < 0 && lastErrorCode() === 'ENOENT') return undefined
    checked('statx', result)
    return this
  }

  /** As the file system's own tables tell it. Times of access and birth and the device are not known then. */
  assign(told: ToldStatus): this {
    const bytes = this.#bytes
    bytes.writeUInt32LE(MASK & ~STATX_BTIME, 0)
    bytes.writeUInt32LE(told.links, 16)
    bytes.writeUInt32LE(told.uid, 20)
    bytes.writeUInt32LE(told.gid, 24)
    bytes.writeUInt16LE(told.mode, 28)
    this.#assignUnsigned(told.inode, 32)
    this.#assignUnsigned(told.sizeBytes, 40)
    this.#assignUnsigned(told.allocatedBytes / 512, 48)
    this.#assignTime(told.changed, 96)
    this.#assignTime(told.modified, 112)
    return this
  }

  get kind(): FileKind | undefined {
    return KINDS[this.mode & constants.S_IFMT]
  }
  /** Kind and permission bits, as in `st_mode`. */
  get mode(): number {
    return this.#bytes.readUInt16LE(28)
  }
  get permissions(): number {
    return this.mode & 0o7777
  }
  get links(): number {
    return this.#bytes.readUInt32LE(16)
  }
  get uid(): number {
    return this.#bytes.readUInt32LE(20)
  }
  get gid(): number {
    return this.#bytes.readUInt32LE(24)
  }
  /**
   * The number. One beyond 2^53 (overlay with `xino`, some network file systems) is folded to 52 bits, its uppermost over others: the
   * same for the same file, and one that an index can hold. `wholeNumber` has all of it.
   */
  get inode(): number {
    const [low, high] = [this.#bytes.readUInt32LE(32), this.#bytes.readUInt32LE(36)]
    if (high < 2 ** 21) return high * HIGH + low
    return ((high & 0xfffff) ^ ((high >>> 20) << 8)) * HIGH + low
  }
  get sizeBytes(): number {
    return this.#unsigned(40)
  }
  get allocatedBytes(): number {
    return this.#unsigned(48) * 512
  }
  /** `major:minor`. On btrfs it differs by subvolume, and from one mount to the next. */
  get device(): string {
    return `${this.#bytes.readUInt32LE(136)}:${this.#bytes.readUInt32LE(140)}`
  }
  /** All 64 bits of the number, in decimal. */
  get wholeNumber(): string {
    return String(this.#bytes.readBigUInt64LE(32))
  }
  /**
   * Of one file and no other for as long as it stands, and where birth times are kept of none that gets its number later. Not for what
   * was assigned. Without slashes and colons.
   */
  get identity(): string {
    const bytes = this.#bytes
    const device = `${bytes.readUInt32LE(136)}-${bytes.readUInt32LE(140)}`
    return `${device}-${this.wholeNumber}-${this.born}`
  }
  /** The device a special file stands for, as `dev_t`: the huge encoding of glibc's makedev. */
  get specialDevice(): number {
    const major = this.#bytes.readUInt32LE(128)
    const minor = this.#bytes.readUInt32LE(132)
    return (major >>> 12) * 2 ** 44 + (minor >>> 8) * 2 ** 20 + (major & 0xfff) * 2 ** 8 + (minor & 0xff)
  }
  get specialMajor(): number {
    return this.#bytes.readUInt32LE(128)
  }
  get specialMinor(): number {
    return this.#bytes.readUInt32LE(132)
  }
  /** mtime, as `timeText` writes it. */
  get modified(): string {
    return this.#time(112)
  }
  /** ctime: moves with every change of content or metadata, and no tool can set it. */
  get changed(): string {
    return this.#time(96)
  }
  /** Nobody wrote between the two: ctime and size are the same. */
  hasSameContentAs(other: Status): boolean {
    const [own, others] = [this.#bytes, other.#bytes]
    for (const at of CONTENT_WORDS) if (own.readUInt32LE(at) !== others.readUInt32LE(at)) return false
    return true
  }
  /** The same in whole milliseconds since the epoch, downwards. */
  get changedMs(): number {
    const seconds = this.#bytes.readInt32LE(100) * HIGH + this.#bytes.readUInt32LE(96)
    return seconds * 1_000 + Math.floor(this.#bytes.readUInt32LE(104) / 1e6)
  }
  /** The same in nanoseconds since the epoch. */
  get changedNanoseconds(): bigint {
    return this.#bytes.readBigInt64LE(96) * 1_000_000_000n + BigInt(this.#bytes.readUInt32LE(104))
  }
  /** Birth, `seconds.nanoseconds`; empty where the file system does not keep it. */
  get born(): string {
    if ((this.#bytes.readUInt32LE(0) & STATX_BTIME) === 0) return ''
    return `${this.#bytes.readBigInt64LE(80)}.${this.#bytes.readUInt32LE(88)}`
  }

  /** Writes atime and mtime as futimens takes them: a statx timestamp is a little-endian timespec whose padding is zero. */
  copyTimes(times: Buffer): void {
    this.#bytes.copy(times, 0, 64, 80)
    this.#bytes.copy(times, 16, 112, 128)
  }

  #time(offset: number): string {
    const seconds = this.#bytes.readInt32LE(offset + 4) * HIGH + this.#bytes.readUInt32LE(offset)
    return timeText(seconds, this.#bytes.readUInt32LE(offset + 8))
  }

  #assignTime({ seconds, nanoseconds }: Instant, offset: number): void {
    const high = Math.floor(seconds / HIGH)
    this.#bytes.writeInt32LE(high, offset + 4)
    this.#bytes.writeUInt32LE(seconds - high * HIGH, offset)
    this.#bytes.writeUInt32LE(nanoseconds, offset + 8)
  }

  #assignUnsigned(value: number, offset: number): void {
    this.#bytes.writeUInt32LE(Math.floor(value / HIGH), offset + 4)
    this.#bytes.writeUInt32LE(value % HIGH, offset)
  }

  #unsigned(offset: number): number {
    return this.#bytes.readUInt32LE(offset + 4) * HIGH + this.#bytes.readUInt32LE(offset)
  }
}
