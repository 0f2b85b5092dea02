import { fsync } from 'node:fs'
import { promisify } from 'node:util'
import { syncFileSystem } from '../../native/file-system.ts'
import { close, createFile } from '../../native/paths.ts'
import { reflink, reflinkInBackground } from '../../native/reflink.ts'
import { Status } from '../../native/status.ts'
import { Counters } from '../../tree/counters.ts'
import { type ContentMode, copyContent } from '../../tree/file-content.ts'
import { disinherit, MetadataCopier } from '../../tree/metadata.ts'
import { runTreeTask, type TreeWatch } from '../../tree/tree-task.ts'
import { identityOf, type Receipt } from './receipt.ts'
import type { RestoreSource } from './source.ts'

const flush = promisify(fsync)
/** At 5 to 12 µs an extent of 4 KiB or more, at most some 3 ms of the event loop. */
const MAX_INLINE_REFLINK_BYTES = 2 ** 20
/** Below this a copy takes less than the start of a thread. */
const MAX_INLINE_COPY_BYTES = 2 ** 17
const STAGED_MODE = 0o600

interface StageRequest {
  readonly source: RestoreSource
  /** Open for reading. */
  readonly parentFd: number
  /** NUL-terminated; free. */
  readonly stagedName: Buffer
  readonly mode: ContentMode
  /** Begins the message of a failure. */
  readonly subject: string
}

/** Makes a whole, durable image of the source beside its destination. */
export function stage(request: StageRequest, watch: TreeWatch): Promise<Receipt> {
  return request.source.type === 'file' ? stageFile(request, watch) : stageTree(request, watch)
}

async function stageFile(request: StageRequest, watch: TreeWatch): Promise<Receipt> {
  const { source, parentFd, stagedName } = request
  const targetFd = createFile(parentFd, stagedName, STAGED_MODE)
  try {
    disinherit(targetFd)
    const cow = await transfer(request, targetFd, watch)
    new MetadataCopier().toDescriptor(source.status, { sourceFd: source.fd, targetFd, createdMode: STAGED_MODE })
    await flush(targetFd)
    const staged = new Status().readDescriptor(targetFd)
    const { inode, sizeBytes } = staged
    return { identity: identityOf(staged), type: 'file', inode, fileSize: sizeBytes, files: 1, bytes: sizeBytes, cow }
  } finally {
    close(targetFd)
  }
}

/** @returns true when no byte was copied and blocks are shared */
async function transfer({ source, mode, subject }: StageRequest, targetFd: number, watch: TreeWatch): Promise<boolean> {
  const { sizeBytes, allocatedBytes } = source.status
  if (mode === 'share') {
    const share = sizeBytes <= MAX_INLINE_REFLINK_BYTES ? reflink : reflinkInBackground
    if (await share(source.fd, targetFd)) return true
  }
  const content = { sourceFd: source.fd, targetFd, sizeBytes, allocatedBytes }
  if (sizeBytes <= MAX_INLINE_COPY_BYTES) copyContent(content, new Counters())
  else await runTreeTask({ subject, kind: 'copy', ...content }, watch)
  return false
}

async function stageTree(
  { source, parentFd, stagedName, mode, subject }: StageRequest,
  watch: TreeWatch,
): Promise<Receipt> {
  const task = { subject, kind: 'clone', sourceFd: source.fd, parentFd, name: stagedName, mode } as const
  const { cow, files, bytes } = await runTreeTask(task, watch)
  await syncFileSystem(parentFd)
  const staged = new Status().readName(parentFd, stagedName)
  if (staged === undefined) throw new Error('the staged tree vanished')
  return {
    identity: identityOf(staged),
    type: 'directory',
    inode: staged.inode,
    fileSize: 0,
    files,
    bytes,
    cow: cow && mode === 'share',
  }
}
