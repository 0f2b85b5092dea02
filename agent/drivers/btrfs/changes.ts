import { constants } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as breathe } from 'node:timers/promises'
import { FleetError } from '../../../shared/errors.ts'
import type { Run } from '../../exec/run.ts'
import { isReadonlySubvolume } from '../../native/btrfs.ts'
import { SubvolumeNames } from '../../native/btrfs-names.ts'
import { cString } from '../../native/libc.ts'
import { close, openBeneath } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import type { Change, ChangeList } from '../driver.ts'
import { NameReplay, type ReplayedNames } from './name-replay.ts'
import { newerChanges, shareHistory } from './newer-changes.ts'
import { SendStream } from './send-stream.ts'

const BTRFS = '/usr/bin/btrfs'
/** The kernel reads the metadata that the two do not share. */
const SEND_TIMEOUT_MS = 3_600_000
/** Looks at files between two turns of the event loop. */
const LOOKS_AT_ONCE = 500

export interface ComparedImages {
  readonly datasetsFd: number
  readonly datasetsPath: string
  /** Both are there. */
  readonly base: string
  readonly image: string
}

/** @returns undefined when they cannot be compared, or so much has changed that a list is of no use */
export async function changesBetween(
  images: ComparedImages,
  run: Run,
  signal: AbortSignal,
): Promise<ChangeList | undefined> {
  const { datasetsFd, base, image } = images
  const imageFd = openBeneath(datasetsFd, image, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    if (!isReadonlySubvolume(imageFd)) return undefined
    const found = await changesOfOneHistory({ datasetsFd, base, imageFd }, signal)
    if (found === 'writable') return undefined
    if (found !== undefined) return found
    const names = await replayed(images, run, signal)
    return [...names.changes, ...(await otherNames(imageFd, names, signal))]
  } catch (thrown) {
    // Too much for a list, or a path longer than the kernel takes at once: a walk manages either.
    if (thrown instanceof FleetError ? thrown.code === 'too_large' : errorCodeOf(thrown) === 'ENAMETOOLONG')
      return undefined
    throw thrown
  } finally {
    close(imageFd)
  }
}

/** @returns undefined where only the kernel's own comparison can tell; `writable`: nobody can */
async function changesOfOneHistory(
  { datasetsFd, base, imageFd }: { readonly datasetsFd: number; readonly base: string; readonly imageFd: number },
  signal: AbortSignal,
): Promise<ChangeList | 'writable' | undefined> {
  const baseFd = openBeneath(datasetsFd, base, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    if (!isReadonlySubvolume(baseFd)) return 'writable'
    const images = { baseFd, imageFd }
    return shareHistory(images) ? await newerChanges(images, signal) : undefined
  } finally {
    close(baseFd)
  }
}

async function replayed(
  { datasetsPath, base, image }: ComparedImages,
  run: Run,
  signal: AbortSignal,
): Promise<ReplayedNames> {
  const replay = new NameReplay()
  const stream = new SendStream((command) => replay.apply(command))
  const args = ['send', '-q', '--no-data', '-p', join(datasetsPath, base), join(datasetsPath, image)]
  const { exitCode, stderr } = await run(BTRFS, args, {
    signal,
    timeoutMs: SEND_TIMEOUT_MS,
    onOutput: (chunk) => stream.push(chunk),
  })
  if (exitCode !== 0) throw new FleetError('internal', 'btrfs cannot compare the images', { detail: stderr })
  stream.finish()
  return replay.finish()
}

/** A command names a file by one of its names; a change shows under all of them. */
async function otherNames(
  imageFd: number,
  { touched }: ReplayedNames,
  signal: AbortSignal,
): Promise<readonly Change[]> {
  const changes: Change[] = []
  const seen = new Set<number>()
  const status = new Status()
  const subvolume = new SubvolumeNames(imageFd)
  for (const [index, path] of touched.entries()) {
    if (index % LOOKS_AT_ONCE === LOOKS_AT_ONCE - 1) await breathe()
    if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
    if (path === '') continue
    const found = status.readName(imageFd, cString(Buffer.from(path, 'latin1')))
    if (found === undefined || found.kind === 'directory' || found.links < 2 || seen.has(found.inode)) continue
    seen.add(found.inode)
    for (const name of subvolume.pathsOf(found.inode)) changes.push({ path: name, subtree: false })
  }
  return changes
}
