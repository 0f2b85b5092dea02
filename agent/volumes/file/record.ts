import { createHash } from 'node:crypto'
import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { cString, libc } from '../../native/libc.ts'
import { Status, timeText } from '../../native/status.ts'
import { checked, lastErrorCode } from '../../native/system-error.ts'

/** On the image itself, so that it goes wherever that goes; a clone by FICLONE does not take it along. */
const ATTRIBUTE = cString('user.holdfast.volume')
const MAX_BYTES = 4_096
const TIMES_BYTES = 32
/** futimens: leave the time of access alone. */
const UTIME_OMIT = 0x3ffffffe
const MS_PER_SECOND = 1_000

/** What an image or a snapshot says of itself. */
const ImageRecord = z.object({
  guid: z.string().min(1).max(64),
  madeAtMs: z.number().int().nonnegative(),
  /** What it is a clone of, and its own path: names that stay, as nothing is ever renamed. */
  clone: z.object({ path: z.string(), guid: z.string(), volume: z.string(), snapshot: z.string() }).optional(),
  /** Its time of modification for as long as nobody has written to it: a whole second before it was made. */
  restSeconds: z.number().int().nonnegative(),
})
export type ImageRecord = z.infer<typeof ImageRecord>

/** Makes it look untouched as of now and says so on it. @throws unavailable where the file system keeps no attributes */
export function writeRecord(fd: number, { madeAtMs, ...rest }: Omit<ImageRecord, 'restSeconds'>): void {
  const restSeconds = Math.floor(madeAtMs / MS_PER_SECOND) - 1
  const bytes = Buffer.from(JSON.stringify({ ...rest, madeAtMs, restSeconds } satisfies ImageRecord))
  const result = libc().fsetxattr(fd, ATTRIBUTE, bytes, bytes.length, 0)
  if (result < 0 && lastErrorCode() === 'EOPNOTSUPP') {
    throw new FleetError('unavailable', 'the file system of the pool keeps no extended attributes')
  }
  checked('setxattr', result)
  checked('futimens', libc().futimens(fd, modifiedAt(restSeconds)))
}

/** Of a clone; when it was last written to still tells whether it was. */
export function forgetOrigin(fd: number): void {
  const { clone, ...rest } = storedRecord(fd) ?? {}
  if (clone === undefined) return
  const bytes = Buffer.from(JSON.stringify(rest))
  checked('setxattr', libc().fsetxattr(fd, ATTRIBUTE, bytes, bytes.length, 0))
}

function modifiedAt(seconds: number): Buffer {
  const times = Buffer.alloc(TIMES_BYTES)
  times.writeBigInt64LE(BigInt(UTIME_OMIT), 8)
  times.writeBigInt64LE(BigInt(seconds), 16)
  return times
}

/** Of a file that is not ours: its guid is made of what the file system never gives twice, and it counts as written. */
export function readRecord(fd: number): Omit<ImageRecord, 'restSeconds'> & { readonly isWritten: boolean } {
  const status = new Status().readDescriptor(fd)
  const kept = storedRecord(fd)
  if (kept !== undefined) {
    const { restSeconds, ...record } = kept
    return { ...record, isWritten: status.modified !== timeText(restSeconds, 0) }
  }
  const guid = createHash('sha256').update(`${status.inode} ${status.born}`).digest('hex').slice(0, 32)
  const madeAtMs = Math.max(0, Math.floor(Number(status.born || status.modified) * MS_PER_SECOND))
  return { guid, madeAtMs, isWritten: true }
}

function storedRecord(fd: number): ImageRecord | undefined {
  const bytes = Buffer.alloc(MAX_BYTES)
  const length = libc().fgetxattr(fd, ATTRIBUTE, bytes, bytes.length)
  if (length < 0 && ['ENODATA', 'EOPNOTSUPP'].includes(lastErrorCode())) return undefined
  try {
    return ImageRecord.safeParse(JSON.parse(bytes.toString('utf8', 0, checked('getxattr', length)))).data
  } catch (error) {
    if (error instanceof SyntaxError) return undefined // somebody else's
    throw error
  }
}
