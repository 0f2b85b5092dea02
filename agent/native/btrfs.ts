import { settled } from './file-system.ts'
import { libc } from './libc.ts'
import { checked, lastErrorCode } from './system-error.ts'

/**
 * linux/btrfs.h. Request numbers are _IOW/_IOR(0x94, nr, size): 4096 bytes for both vol_args layouts, 504 for
 * get_subvol_info_args (seen with Linux 6.18 and btrfs-progs 6.2).
 */
const SNAP_DESTROY = 0x5000940f
const SNAP_CREATE_V2 = 0x50009417
const SUBVOL_CREATE_V2 = 0x50009418
const GET_SUBVOL_INFO = 0x81f8943c
const SUBVOL_GETFLAGS = 0x80089419
/** _IOWR, since Linux 4.18; its answer's number of children stands behind 255 of (tree, directory). */
const GET_SUBVOL_ROOTREF = 0xd000943d
const ROOTREF_COUNT_OFFSET = 8 + 255 * 16
const ARGS_BYTES = 4096
const NAME_OFFSET_V1 = 8
const NAME_OFFSET_V2 = 56
const SUBVOL_RDONLY = 2n
const INFO_BYTES = 504
const INFO_GENERATION_OFFSET = 280
const INFO_UUID_OFFSET = 296
const INFO_PARENT_OFFSET = 312
const NO_UUID = '0'.repeat(32)
const INFO_CHANGED_OFFSET = 344
const INFO_MADE_OFFSET = 352

/** The root directory of every subvolume (BTRFS_FIRST_FREE_OBJECTID). */
export const SUBVOLUME_ROOT_INODE = 256

/** Makes an empty subvolume `name` in the directory, durably. @throws SystemError EEXIST, ENOSPC */
export function createSubvolume(directoryFd: number, name: string): Promise<void> {
  const args = volumeArgs(name, { fd: 0, flags: 0n })
  return settled('SUBVOL_CREATE', (done) => libc().ioctlBuffer.async(directoryFd, SUBVOL_CREATE_V2, args, done))
}

/** One ioctl, one instant: the snapshot is there whole and durable, or not at all. @throws SystemError EEXIST, ENOSPC */
export function createSnapshot(request: {
  readonly directoryFd: number
  readonly name: string
  readonly sourceFd: number
  readonly readonly: boolean
}): Promise<void> {
  const args = volumeArgs(request.name, { fd: request.sourceFd, flags: request.readonly ? SUBVOL_RDONLY : 0n })
  return settled('SNAP_CREATE', (done) => libc().ioctlBuffer.async(request.directoryFd, SNAP_CREATE_V2, args, done))
}

/** Unlinks a subvolume; its blocks are freed later, in the background. @throws SystemError ENOENT, ENOTEMPTY (nested) */
export function destroySubvolume(directoryFd: number, name: string): Promise<void> {
  const args = Buffer.alloc(ARGS_BYTES)
  args.write(name, NAME_OFFSET_V1)
  return settled('SNAP_DESTROY', (done) => libc().ioctlBuffer.async(directoryFd, SNAP_DESTROY, args, done))
}

/** Whether other subvolumes are linked into this one. @param fd of its root directory, not O_PATH */
export function hasNestedSubvolumes(fd: number): boolean {
  const answer = Buffer.alloc(ARGS_BYTES)
  const done = libc().ioctlBuffer(fd, GET_SUBVOL_ROOTREF, answer)
  // EOVERFLOW: more children than one answer holds.
  if (done < 0 && lastErrorCode() === 'EOVERFLOW') return true
  checked('GET_SUBVOL_ROOTREF', done)
  return answer.readUInt8(ROOTREF_COUNT_OFFSET) > 0
}

/** @param fd of its root directory, not O_PATH */
export function isReadonlySubvolume(fd: number): boolean {
  const flags = Buffer.alloc(8)
  checked('SUBVOL_GETFLAGS', libc().ioctlBuffer(fd, SUBVOL_GETFLAGS, flags))
  return (flags.readBigUInt64LE(0) & SUBVOL_RDONLY) !== 0n
}

/** 32 hex digits. @param fd of any file in the subvolume, not O_PATH */
export function subvolumeUuid(fd: number): string {
  const info = Buffer.alloc(INFO_BYTES)
  checked('GET_SUBVOL_INFO', libc().ioctlBuffer(fd, GET_SUBVOL_INFO, info))
  return info.toString('hex', INFO_UUID_OFFSET, INFO_UUID_OFFSET + 16)
}

/** Where a snapshot stands in the history of what it was made of. */
export interface SnapshotOrigin {
  /** 32 hex digits; undefined for what is no snapshot. */
  readonly sourceUuid: string | undefined
  /** The transaction that made it. */
  readonly transid: number
  /** Nothing was written to it since. */
  readonly isPristine: boolean
}

/** @param fd of any file in the subvolume, not O_PATH */
export function snapshotOrigin(fd: number): SnapshotOrigin {
  const info = Buffer.alloc(INFO_BYTES)
  checked('GET_SUBVOL_INFO', libc().ioctlBuffer(fd, GET_SUBVOL_INFO, info))
  const number = (offset: number) => Number(info.readBigUInt64LE(offset))
  const transid = number(INFO_MADE_OFFSET)
  const isPristine = number(INFO_GENERATION_OFFSET) === transid && number(INFO_CHANGED_OFFSET) <= transid
  const source = info.toString('hex', INFO_PARENT_OFFSET, INFO_PARENT_OFFSET + 16)
  return { sourceUuid: source === NO_UUID ? undefined : source, transid, isPristine }
}

function volumeArgs(name: string, source: { readonly fd: number; readonly flags: bigint }): Buffer {
  const args = Buffer.alloc(ARGS_BYTES)
  args.writeBigInt64LE(BigInt(source.fd), 0)
  args.writeBigUInt64LE(source.flags, 16)
  args.write(name, NAME_OFFSET_V2)
  return args
}
