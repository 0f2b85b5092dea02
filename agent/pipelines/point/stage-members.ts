import { constants } from 'node:fs'
import { FleetError } from '../../../shared/errors.ts'
import { type BytePath, bytesOf, displayPath, nameOf } from '../../archive/byte-path.ts'
import { syncFileSystem } from '../../native/file-system.ts'
import { cString } from '../../native/libc.ts'
import { close, makeDirectory, openBeneath, removeDirectory } from '../../native/paths.ts'
import { renameBetween } from '../../native/rename-between.ts'
import { Status } from '../../native/status.ts'
import { runTreeTask } from '../../tree/tree-task.ts'
import type { StepContext } from '../pipeline.ts'
import type { StagedPlace } from '../restore/placement.ts'
import { identityOf, type Receipt } from '../restore/receipt.ts'
import { type ExtractPolicy, extractParts, type OpenPoint, type Part } from './extraction.ts'

const STAGED_MODE = 0o700
/** Of the directory that several files are put into. */
const GATHERED_MODE = 0o755
const READ_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY
const unwatched = { signal: new AbortController().signal, progress: () => undefined }

interface StageRequest extends StagedPlace {
  readonly jobId: string
  /** One: that file or directory becomes the staged object. More: a directory of them, each under its own name. */
  readonly paths: readonly BytePath[]
  readonly policy: ExtractPolicy
}

/** Makes a whole, durable image of what is asked for at the staged name. @throws not_found, invalid, conflict */
export async function stageMembers(
  point: OpenPoint,
  request: StageRequest,
  context: Pick<StepContext, 'signal' | 'progress'>,
): Promise<Receipt> {
  const { paths, parentFd, stagedName, jobId } = request
  await removeGathered(parentFd, jobId)
  const types = await typesOf(point, paths, context.signal)
  const [only] = paths
  if (only !== undefined && paths.length === 1) {
    if (types[0] === 'file') return stageFile(point, request, context)
    return staged(request, STAGED_MODE, (rootFd) =>
      extractParts(point, { parts: [{ path: only, rootFd }], policy: request.policy }, context),
    )
  }
  refuseSameNames(paths)
  return staged({ parentFd, stagedName }, GATHERED_MODE, async (rootFd) => {
    const opened: number[] = []
    const parts = paths.map((path, at): Part => {
      if (types[at] === 'file') return { path, rootFd }
      const fd = openMade(rootFd, cString(bytesOf(nameOf(path))), STAGED_MODE)
      opened.push(fd)
      return { path, rootFd: fd }
    })
    try {
      return await extractParts(point, { parts, policy: request.policy }, context)
    } finally {
      for (const fd of opened) close(fd)
    }
  })
}

/** What a killed run left of a single file on its way. */
export async function removeGathered(parentFd: number, jobId: string): Promise<void> {
  const name = gatheredName(jobId)
  if (new Status().readName(parentFd, name) === undefined) return
  await runTreeTask({ subject: 'restore', kind: 'remove', parentFd, name }, unwatched)
}

function gatheredName(jobId: string): Buffer {
  return cString(`.holdfast-${jobId}.members.partial`)
}

/** A file is extracted under its own name into a directory, and taken out of it. */
async function stageFile(
  point: OpenPoint,
  { parentFd, stagedName, jobId, paths, policy }: StageRequest,
  context: Pick<StepContext, 'signal' | 'progress'>,
): Promise<Receipt> {
  const [path = ''] = paths
  const rootFd = openMade(parentFd, gatheredName(jobId), STAGED_MODE)
  try {
    const { files, bytes } = await extractParts(point, { parts: [{ path, rootFd }], policy }, context)
    const inner = { directoryFd: rootFd, name: cString(bytesOf(nameOf(path))) }
    renameBetween(inner, { directoryFd: parentFd, name: stagedName }, 0)
    removeDirectory(parentFd, gatheredName(jobId))
    await syncFileSystem(parentFd)
    const status = statusOf(parentFd, stagedName)
    const { inode, sizeBytes } = status
    return { identity: identityOf(status), type: 'file', inode, fileSize: sizeBytes, files, bytes, cow: false }
  } finally {
    close(rootFd)
  }
}

async function staged(
  { parentFd, stagedName }: StagedPlace,
  mode: number,
  fill: (rootFd: number) => Promise<{ readonly files: number; readonly bytes: number }>,
): Promise<Receipt> {
  const rootFd = openMade(parentFd, stagedName, mode)
  try {
    const { files, bytes } = await fill(rootFd)
    await syncFileSystem(parentFd)
    const status = statusOf(parentFd, stagedName)
    return {
      identity: identityOf(status),
      type: 'directory',
      inode: status.inode,
      fileSize: 0,
      ...{ files, bytes },
      cow: false,
    }
  } finally {
    close(rootFd)
  }
}

function openMade(parentFd: number, name: Buffer, mode: number): number {
  makeDirectory(parentFd, name, mode)
  return openBeneath(parentFd, name.subarray(0, -1), READ_DIRECTORY)
}

function statusOf(parentFd: number, name: Buffer): Status {
  const status = new Status().readName(parentFd, name)
  if (status === undefined) throw new Error('what was staged vanished')
  return status
}

async function typesOf(
  { chain }: OpenPoint,
  paths: readonly BytePath[],
  signal: AbortSignal,
): Promise<readonly ('file' | 'directory')[]> {
  const types: ('file' | 'directory')[] = []
  for (const path of paths) {
    const found = await chain.find(path, signal)
    if (found === undefined) throw new FleetError('not_found', `'${displayPath(path)}' is not in this point`)
    const { type } = found.member
    if (type === 'directory') types.push('directory')
    else if (type === 'file' || type === 'hardlink') types.push('file')
    else throw new FleetError('invalid', `'${displayPath(path)}' is neither a file nor a directory`, { field: 'paths' })
  }
  return types
}

function refuseSameNames(paths: readonly BytePath[]): void {
  const seen = new Set<string>()
  for (const path of paths) {
    const name = nameOf(path)
    if (name === '') throw new FleetError('invalid', 'the whole point cannot be one of several', { field: 'paths' })
    if (seen.has(name)) {
      const message = `more than one of the paths is called '${displayPath(name)}'; restore them one by one`
      throw new FleetError('conflict', message, { field: 'paths' })
    }
    seen.add(name)
  }
}
