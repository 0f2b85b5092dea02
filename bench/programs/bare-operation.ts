import { closeSync, constants, fsyncSync, openSync, renameSync } from 'node:fs'
import { dirname } from 'node:path'
import koffi from 'koffi'
import { z } from 'zod'

/** What a storage operation costs by itself: the fewest system calls that do it durably, on the calling thread. */
export const BareOperation = z.discriminatedUnion('kind', [
  /** A file that shares its source's blocks appears under its name by one rename. */
  z.object({ kind: z.literal('restore'), source: z.string(), target: z.string() }),
  /** A btrfs snapshot; the ioctl returns when its transaction is on disk. `target` is a name in `folder`. */
  z.object({ kind: z.literal('snapshot'), source: z.string(), folder: z.string(), target: z.string() }),
])
export type BareOperation = z.infer<typeof BareOperation>

/** linux/fs.h and linux/btrfs.h. */
const FICLONE = 0x40049409
const SNAP_CREATE_V2 = 0x50009417
const ARGS_BYTES = 4096
const ARGS_NAME_OFFSET = 56

const libc = koffi.load('libc.so.6')
const ioctlNumber = libc.func('int ioctl(int, unsigned long, ...)')
const ioctlBuffer = libc.func('int ioctl(int, unsigned long, void *)')

export function perform(operation: BareOperation): void {
  if (operation.kind === 'restore') restore(operation)
  else snapshot(operation)
}

function restore({ source, target }: Extract<BareOperation, { kind: 'restore' }>): void {
  const staged = `${target}.staged`
  const from = openSync(source, 'r')
  const to = openSync(staged, 'wx', 0o600)
  if (ioctlNumber(to, FICLONE, 'int', from) !== 0) throw new Error(`FICLONE ${source}: errno ${koffi.errno()}`)
  fsyncSync(to)
  closeSync(to)
  closeSync(from)
  renameSync(staged, target)
  const folder = openSync(dirname(target), constants.O_RDONLY | constants.O_DIRECTORY)
  fsyncSync(folder)
  closeSync(folder)
}

function snapshot({ source, folder, target }: Extract<BareOperation, { kind: 'snapshot' }>): void {
  const from = openSync(source, constants.O_RDONLY | constants.O_DIRECTORY)
  const into = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  const args = Buffer.alloc(ARGS_BYTES)
  args.writeBigInt64LE(BigInt(from), 0)
  args.write(target, ARGS_NAME_OFFSET)
  if (ioctlBuffer(into, SNAP_CREATE_V2, args) !== 0) throw new Error(`SNAP_CREATE ${source}: errno ${koffi.errno()}`)
  closeSync(into)
  closeSync(from)
}
