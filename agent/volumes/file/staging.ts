import { randomUUID } from 'node:crypto'
import { FleetError } from '../../../shared/errors.ts'
import type { Watch } from '../../drivers/driver.ts'
import { settled } from '../../native/file-system.ts'
import { cString, libc } from '../../native/libc.ts'
import { close, createFile, openBeneath } from '../../native/paths.ts'
import { reflinkInBackground } from '../../native/reflink.ts'
import { checked, errorCodeOf } from '../../native/system-error.ts'
import { copyImage } from './copy-image.ts'
import { type ImageRecord, writeRecord } from './record.ts'
import { READ_FOLDER, STAGED } from './volume-tree.ts'

/** Only this agent and what it starts may read a guest's disk. */
const IMAGE_MODE = 0o600
const SNAPSHOT_MODE = 0o400

/** `share`: FICLONE. `copy`: bytes are copied even where they could be shared. */
export type FillMode = 'share' | 'copy'

/** An image that nobody can see yet, under its guid in `.staged`. */
export interface StagedImage extends Disposable {
  readonly guid: string
  readonly fd: number
}

/** The folder of what is being made or removed, open. */
export function openStaging(rootFd: number): number {
  return openBeneath(rootFd, STAGED, READ_FOLDER)
}

export interface ImagePlan {
  readonly stagingFd: number
  readonly kind: 'volume' | 'snapshot'
  /** An empty one of so many bytes, or one with this content. */
  readonly content: { readonly sizeBytes: number } | { readonly sourceFd: number; readonly mode: FillMode }
  readonly clone?: NonNullable<ImageRecord['clone']>
}

/** Makes an image and what it says of itself; not on disk yet. A failure leaves nothing. */
export async function stageImage(plan: ImagePlan, watch: Watch): Promise<StagedImage> {
  const { stagingFd, kind, clone } = plan
  const guid = randomUUID().replaceAll('-', '')
  const fd = createFile(stagingFd, cString(guid), IMAGE_MODE)
  try {
    await fill(fd, plan.content, watch)
    writeRecord(fd, { guid, madeAtMs: Date.now(), ...(clone && { clone }) })
    if (kind === 'snapshot') checked('fchmod', libc().fchmod(fd, SNAPSHOT_MODE))
    if (watch.signal.aborted) throw new FleetError('cancelled', 'cancelled')
    return { guid, fd, [Symbol.dispose]: () => close(fd) }
  } catch (error) {
    close(fd)
    await discard(stagingFd, guid)
    throw error
  }
}

async function fill(fd: number, content: ImagePlan['content'], watch: Watch): Promise<void> {
  if ('sizeBytes' in content) {
    checked('ftruncate', libc().ftruncate(fd, content.sizeBytes))
  } else if (content.mode === 'copy') {
    await copyImage({ sourceFd: content.sourceFd, targetFd: fd }, watch)
  } else if (!(await reflinkInBackground(content.sourceFd, fd))) {
    throw new FleetError('unavailable', 'the file system cannot share the blocks of this image')
  }
}

/** Off the event loop: blocks of a large image take their time. Absence is success. */
export async function discard(stagingFd: number, guid: string): Promise<void> {
  try {
    await settled('unlink', (done) => libc().unlinkat.async(stagingFd, cString(guid), 0, done))
  } catch (error) {
    if (errorCodeOf(error) !== 'ENOENT') throw error
  }
}
