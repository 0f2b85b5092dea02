import assert from 'node:assert/strict'
import { FleetError } from '../../../shared/errors.ts'
import type { Watch } from '../../drivers/driver.ts'
import { throwIfCancelled } from '../../drivers/pool-layout.ts'
import { cString, libc } from '../../native/libc.ts'
import { close, RENAME_NOREPLACE, removeFile } from '../../native/paths.ts'
import { renameBetween } from '../../native/rename-between.ts'
import { asFleetError, checked, errorCodeOf } from '../../native/system-error.ts'
import type { CloneRequest, Volume } from '../volumes.ts'
import { type CloneDesk, type CloneSource, openCloneDesk, snapshotNotFound } from './clone-desk.ts'
import { findVolume, openImage } from './images.ts'
import { readRecord } from './record.ts'
import { discard, type FillMode, openStaging, type StagedImage, stageImage } from './staging.ts'
import { checkedPath, checkedSnapshot, imageOf, type VolumeTree } from './volume-tree.ts'
import { writeOut } from './write-out.ts'

/** Made, written out and given their names together: what is staged at one time, and how many descriptors that takes. */
const GROUP: Readonly<Record<FillMode, number>> = { share: 64, copy: 4 }
/** FICLONE waits for the disk where its source is being written; copies compete for it. */
const AT_ONCE: Readonly<Record<FillMode, number>> = { share: 8, copy: 1 }

export type CloneOutcome = { readonly volume: Volume; readonly reused: boolean } | Error

interface Place {
  readonly tree: VolumeTree
  readonly rootFd: number
  readonly mode: FillMode
}

interface Making {
  readonly index: number
  readonly request: CloneRequest
  readonly source: CloneSource
  readonly homeFd: number
  readonly staged: StagedImage
}

/** Answers in the requests' sequence; each fails alone. */
export async function cloneImages(
  place: Place,
  requests: readonly CloneRequest[],
  watch: Watch,
): Promise<readonly CloneOutcome[]> {
  const outcomes: CloneOutcome[] = []
  const size = GROUP[place.mode]
  for (let from = 0; from < requests.length; from += size) {
    outcomes.push(...(await cloneGroup(place, requests.slice(from, from + size), watch)))
  }
  return outcomes
}

async function cloneGroup(place: Place, requests: readonly CloneRequest[], watch: Watch): Promise<CloneOutcome[]> {
  const { rootFd } = place
  using desk = openCloneDesk(rootFd)
  const stagingFd = openStaging(rootFd)
  const outcomes = new Map<number, CloneOutcome>()
  const makings: Making[] = []
  try {
    await inParallel([...requests.entries()], AT_ONCE[place.mode], async ([index, request]) => {
      try {
        const begun = await begin(place, { desk, stagingFd, request }, watch)
        if ('staged' in begun) makings.push({ index, request, ...begun })
        else outcomes.set(index, begun)
      } catch (error) {
        outcomes.set(index, failureOf(error, request))
      }
    })
    await nameAll(place, { desk, stagingFd, makings, signal: watch.signal }, (index, outcome) =>
      outcomes.set(index, outcome),
    )
  } finally {
    for (const { staged } of makings) staged[Symbol.dispose]()
    close(stagingFd)
  }
  return requests.map((_, index) => outcomes.get(index) ?? assert.fail('a clone has no outcome'))
}

interface Naming {
  readonly desk: CloneDesk
  readonly stagingFd: number
  readonly makings: readonly Making[]
  readonly signal: AbortSignal
}

/** All are written out before the first has its name. */
async function nameAll(
  place: Place,
  { desk, stagingFd, makings, signal }: Naming,
  settle: (index: number, outcome: CloneOutcome) => void,
): Promise<void> {
  if (makings.length === 0) return
  const { rootFd, mode } = place
  const unnamed = new Set(makings)
  try {
    throwIfCancelled(signal)
    const fds = makings.map(({ staged }) => staged.fd)
    await writeOut({ rootFd, fds, holds: mode === 'copy' ? 'data' : 'names' })
    for (const making of makings) {
      try {
        settle(making.index, appear(place, stagingFd, making))
        unnamed.delete(making)
      } catch (error) {
        settle(making.index, failureOf(error, making.request))
      }
    }
    await writeOut({ rootFd, fds: await desk.folders(), holds: 'names' })
  } catch (error) {
    // Those that have their name by now are found by a repeat.
    for (const { index, request } of makings) settle(index, failureOf(error, request))
  } finally {
    for (const { staged } of unnamed) await discard(stagingFd, staged.guid)
  }
}

function failureOf(error: unknown, { target }: CloneRequest): Error {
  const failure = asFleetError(error, `volume ${target}`)
  return failure instanceof Error ? failure : new Error(String(failure))
}

/** @returns what is there already, or what is to be given its name */
async function begin(
  { tree, rootFd, mode }: Place,
  {
    desk,
    stagingFd,
    request,
  }: { readonly desk: CloneDesk; readonly stagingFd: number; readonly request: CloneRequest },
  watch: Watch,
): Promise<CloneOutcome | Pick<Making, 'source' | 'homeFd' | 'staged'>> {
  throwIfCancelled(watch.signal)
  const path = checkedPath(request.target)
  const { volume, snapshot } = request.source
  const source = desk.source(checkedPath(volume), checkedSnapshot(snapshot))
  if (isClone(rootFd, request, source?.guid)) return reused(tree, rootFd, path)
  if (source === undefined) throw snapshotNotFound(volume, snapshot)
  const homeFd = await desk.home(path, request.createParent)
  const content = { sourceFd: source.fd, mode }
  const clone = { path, guid: source.guid, volume, snapshot }
  return { source, homeFd, staged: await stageImage({ stagingFd, kind: 'volume', content, clone }, watch) }
}

/** @returns false when nothing is there. @throws exists when it is no clone of that snapshot */
function isClone(rootFd: number, { target, source }: CloneRequest, guid: string | undefined): boolean {
  const fd = openImage(rootFd, imageOf(target))
  if (fd === undefined) return false
  try {
    const { clone } = readRecord(fd)
    const isOfName = clone?.volume === source.volume && clone.snapshot === source.snapshot
    if (isOfName && (guid === undefined || clone.guid === guid)) return true
    throw new FleetError('exists', `volume ${target} is there, and is no clone of ${source.volume}@${source.snapshot}`)
  } finally {
    close(fd)
  }
}

function reused(tree: VolumeTree, rootFd: number, path: string): CloneOutcome {
  return { volume: findVolume(tree, rootFd, path) ?? assert.fail(), reused: true }
}

/** Its snapshot knows of it, then it has its name: without a wait between, so that only a death leaves the one without the other. */
function appear({ tree, rootFd }: Place, stagingFd: number, { request, source, homeFd, staged }: Making): CloneOutcome {
  const from = { directoryFd: stagingFd, name: cString(staged.guid) }
  try {
    checked('link', libc().linkat(stagingFd, from.name, source.clonesFd, from.name, 0))
    renameBetween(from, { directoryFd: homeFd, name: cString(imageNameOf(request.target)) }, RENAME_NOREPLACE)
    return { volume: findVolume(tree, rootFd, request.target) ?? assert.fail(), reused: false }
  } catch (error) {
    removeFile(source.clonesFd, from.name)
    if (errorCodeOf(error) === 'ENOENT') throw snapshotNotFound(request.source.volume, request.source.snapshot)
    if (errorCodeOf(error) !== 'EEXIST' || !isClone(rootFd, request, source.guid)) throw error
    removeFile(stagingFd, from.name)
    return reused(tree, rootFd, request.target)
  }
}

export function imageNameOf(volume: string): string {
  const image = imageOf(volume)
  return image.slice(image.lastIndexOf('/') + 1)
}

async function inParallel<Item>(
  items: readonly Item[],
  limit: number,
  act: (item: Item) => Promise<void>,
): Promise<void> {
  const left = items.values()
  const work = async () => {
    for (const item of left) await act(item)
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, work))
}
