import { FleetError } from '../../../shared/errors.ts'
import { nameBelow } from '../../zfs/names.ts'
import { NotUnderstood } from '../../zfs/not-understood.ts'
import { SendStream } from '../../zfs/send-stream.ts'
import { inTurn } from '../../zfs/turns.ts'
import type { CaptureName, ChangedRange } from '../volumes.ts'
import { checkedId, dropCaptured, snapshotOfCapture } from './captures.ts'
import { baseBookmark, PASTS, pastNames } from './hidden-names.ts'
import type { ZvolPlace } from './zvol-place.ts'

/**
 * A stream holds the changed blocks themselves, which are read anyway and then once more by whoever stores them: with more than this share of
 * the volume in it, reading all of the volume is no worse.
 */
const MOST_OF_VOLUME = 0.5

const unstopped = () => new AbortController().signal

interface Bookmark {
  readonly name: string
  /** The snapshot's. */
  readonly guid: string
}

/**
 * Of a capture its bookmark stays: the moment it was taken at, by which ZFS tells what was written since. It holds no blocks back, no
 * command waits for it to go, and it goes with its volume.
 */
export async function keepBookmark(place: ZvolPlace, name: CaptureName): Promise<boolean> {
  const { zfs, pool } = place
  const standing = await findBookmark(place, name)
  const snapshot = await snapshotOfCapture(place, name, unstopped())
  if (snapshot === undefined) return standing !== undefined
  if (standing !== undefined && standing.guid !== snapshot.guid) await dropBookmarks(place, name)
  const bookmark = baseBookmark(snapshot.name, name.id)
  const isMade = await inTurn(pool, () => zfs.call(['bookmark', snapshot.name, bookmark], unstopped())).then(
    () => true,
    // A pool without the feature, say: the next increment reads all of the volume.
    (error: unknown) => error instanceof FleetError && error.code === 'exists',
  )
  if (isMade) await dropCaptured(place, name)
  return isMade
}

export async function findBookmark(place: ZvolPlace, { volume, id }: CaptureName): Promise<Bookmark | undefined> {
  const wanted = baseBookmark('', checkedId(id))
  return (await bookmarksOf(place, volume)).find(({ name }) => name.endsWith(wanted))
}

export async function dropBookmarks(place: ZvolPlace, { volume, id }: CaptureName): Promise<void> {
  const wanted = baseBookmark('', checkedId(id))
  for (const { name } of await bookmarksOf(place, volume)) {
    if (!name.endsWith(wanted)) continue
    await inTurn(place.pool, () => place.zfs.call(['destroy', name], unstopped())).catch((error: unknown) => {
      if (!(error instanceof FleetError) || error.code !== 'not_found') throw error
    })
  }
}

/** Of the volume, and of what had its name before. */
async function bookmarksOf({ zfs, looks, root }: ZvolPlace, volume: string): Promise<readonly Bookmark[]> {
  const name = nameBelow(root, volume)
  const row = (await looks.look([name], 0, unstopped())).get(name)
  if (row?.type !== 'volume') return []
  const names = [name, ...pastNames(root, row[PASTS])]
  return zfs.list({ columns: ['name', 'guid'], types: ['bookmark'], names, depth: 1 }, unstopped())
}

/** @returns why it is not known, for people */
export async function changesSince(
  place: ZvolPlace,
  {
    volume,
    baseId,
    id,
    take,
  }: {
    readonly volume: string
    readonly baseId: string
    readonly id: string
    readonly take: (range: ChangedRange) => void
  },
  signal: AbortSignal,
): Promise<string | undefined> {
  const base = await findBookmark(place, { volume, id: baseId })
  if (base === undefined) return 'what was kept of the point below is gone'
  const snapshot = await snapshotOfCapture(place, { volume, id }, signal)
  if (snapshot === undefined) return 'the capture is gone'
  if (base.guid === snapshot.guid) return undefined // both are of one snapshot of the volume
  const limit = MOST_OF_VOLUME * Number(snapshot.volsize)
  const stream = new SendStream({ fromGuid: base.guid, toGuid: snapshot.guid }, limit, take)
  try {
    await place.zfs.send({ from: base.name, to: snapshot.name }, (chunk) => stream.push(chunk), signal)
    stream.finish()
  } catch (error) {
    if (error instanceof NotUnderstood) return `the stream of ZFS: ${error.message}`
    if (!(error instanceof FleetError) || signal.aborted) throw error
    if (error.code === 'conflict') return 'the volume was rolled back or replaced since'
    return `ZFS does not tell: ${error.message}`
  }
  return undefined
}
