import { FleetError } from '../../../shared/errors.ts'
import { settled } from '../../native/file-system.ts'
import { libc } from '../../native/libc.ts'
import { checked, errorCodeOf } from '../../native/system-error.ts'

const SEEK_END = 2
/** linux/falloc.h. Of a device, each leaves what reads as zeros: the first frees it, the other may write them. */
const KEEP_SIZE = 0x01
const PUNCH_HOLE = KEEP_SIZE | 0x02
const ZERO_RANGE = KEEP_SIZE | 0x10
/** Between two looks at the signal. */
const STEP_BYTES = 2 ** 30

/** Makes all of a block device read as zeros. @throws conflict when it is too small; SystemError */
export async function blankDevice(
  { subject, fd, leastBytes }: { readonly subject: string; readonly fd: number; readonly leastBytes: number },
  signal: AbortSignal,
): Promise<void> {
  const { lseek, fallocate } = libc()
  const sizeBytes = checked('lseek', lseek(fd, 0, SEEK_END))
  if (sizeBytes < leastBytes)
    throw new FleetError('conflict', `${subject}: the volume has ${leastBytes} bytes, the device only ${sizeBytes}`)
  let mode = PUNCH_HOLE
  for (let at = 0; at < sizeBytes; ) {
    if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
    const bytes = Math.min(STEP_BYTES, sizeBytes - at)
    try {
      await settled('fallocate', (done) => fallocate.async(fd, mode, at, bytes, done))
      at += bytes
    } catch (error) {
      if (mode === ZERO_RANGE || errorCodeOf(error) !== 'EOPNOTSUPP') throw error
      mode = ZERO_RANGE
    }
  }
}
