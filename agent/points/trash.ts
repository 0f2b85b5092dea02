import { FleetError } from '../../shared/errors.ts'
import { Id } from '../../shared/ids.ts'
import { SUMS } from '../archive/frame-table.ts'
import { parentOf } from '../transfer/target-path.ts'
import type { Target } from '../transfer/transfer.ts'
import { directoryOf, isPoint, type OwnPlace, type PointPlace, readText, TRASHED_SUMS } from './series.ts'
import { PointRecord, readMetadata, sha256 } from './series-metadata.ts'
import { putSmall } from './target-sink.ts'

/** Below a target's base: what retention deleted, until its bytes go. No client can name it: it begins with a dot. */
export const TRASH = '.trash'
/** In the directory of a point on its way to the trash and back: what the series' `backup-metadata` told of it. */
const RECORD = 'trashed'
/** Somebody may take an empty directory of the trash away before something is moved into it. */
const MAX_MOVES = 3

/** What a point is known by. */
export interface PointIdentity {
  readonly pointId: string
  /** Of its `sums`; absent for points of agents that did not tell it. */
  readonly sumsSha256?: string | undefined
}

export function isTrash(name: string): boolean {
  return name === TRASH
}

/** Where a point lies while it is trashed: where directories cannot be renamed it stays, and is no point for want of `sums`. */
export function trashedPlaceOf<Place extends PointPlace>(place: Place): Place {
  return place.target.features.renameDirectory ? { ...place, series: `${TRASH}/${place.series}` } : place
}

/** Which of the two places holds the point; undefined where neither does, whoever else's may stand there. */
export async function whereIs(
  place: PointPlace,
  point: PointIdentity,
  signal: AbortSignal,
): Promise<'series' | 'trash' | undefined> {
  const trashed = trashedPlaceOf(place)
  if ((await standsInSeries(place, signal)) && (await isOurs(place, point, signal))) return 'series'
  if ((await standsInTrash(trashed, signal)) && (await isOurs(trashed, point, signal))) return 'trash'
  return undefined
}

async function standsInSeries(place: PointPlace, signal: AbortSignal): Promise<boolean> {
  if (!place.target.features.renameDirectory) return isPoint(place, { signal })
  return (await place.target.stat(directoryOf(place), { signal })) !== undefined
}

async function standsInTrash(place: PointPlace, signal: AbortSignal): Promise<boolean> {
  const { target } = place
  const path = target.features.renameDirectory ? directoryOf(place) : `${directoryOf(place)}/${TRASHED_SUMS}`
  return (await target.stat(path, { signal })) !== undefined
}

/** Targets of others may lead to the same place: by what lies with the point, then by its series' metadata, then by its `sums`. */
export async function isOurs(place: PointPlace, point: PointIdentity, signal: AbortSignal): Promise<boolean> {
  const { target, series, name } = place
  const told =
    (await readRecord(place, signal)) ?? (await readMetadata(target, series, signal)).find((one) => one.name === name)
  if (told?.id !== undefined) return told.id === point.pointId
  if (point.sumsSha256 === undefined) return true
  const sums =
    (await readText(target, `${directoryOf(place)}/${SUMS}`, signal)) ??
    (await readText(target, `${directoryOf(place)}/${TRASHED_SUMS}`, signal))
  return sums === undefined || sha256(sums) === point.sumsSha256
}

const Kept = PointRecord.extend({ id: Id })

/** What was told of a point in this directory when it was trashed. */
export async function readRecord(place: PointPlace, signal: AbortSignal): Promise<PointRecord | undefined> {
  const text = await readText(place.target, `${directoryOf(place)}/${RECORD}`, signal)
  if (text === undefined) return undefined
  try {
    const parsed = Kept.safeParse(JSON.parse(text))
    return parsed.success && parsed.data.name === place.name ? parsed.data : undefined
  } catch {
    return undefined // damaged: then only its name is known
  }
}

export async function writeRecord(place: PointPlace, record: PointRecord, signal: AbortSignal): Promise<void> {
  await putSmall(place.target, `${directoryOf(place)}/${RECORD}`, `${JSON.stringify(record, null, 2)}\n`, signal)
}

/** Of a point that is one again, with what an interruption left of its mark. One that is not there is well. */
export async function removeRecord(place: PointPlace, signal: AbortSignal): Promise<void> {
  if (!place.target.features.renameDirectory && (await isPoint(place, { signal })))
    await place.target.remove(`${directoryOf(place)}/${TRASHED_SUMS}`, { signal })
  await place.target.remove(`${directoryOf(place)}/${RECORD}`, { signal })
}

/** In one step: nobody sees half of the point in either place. @throws exists when somebody else's has its name there */
export async function moveToTrash(place: PointPlace, signal: AbortSignal): Promise<void> {
  const { target } = place
  if (target.features.renameDirectory) return moveDirectory(place, trashedPlaceOf(place), signal)
  await renameSums(place, { from: SUMS, to: TRASHED_SUMS }, signal)
}

/** @throws exists when somebody else's point has its name in the series by now */
export async function takeBack(place: PointPlace, signal: AbortSignal): Promise<void> {
  const { target } = place
  if (target.features.renameDirectory) return moveDirectory(trashedPlaceOf(place), place, signal)
  await renameSums(place, { from: TRASHED_SUMS, to: SUMS }, signal)
}

async function renameSums(
  place: PointPlace,
  { from, to }: { readonly from: string; readonly to: string },
  signal: AbortSignal,
): Promise<void> {
  const directory = directoryOf(place)
  // It is copied and removed: what an interruption left of the copy is replaced.
  await place.target.rename(`${directory}/${from}`, `${directory}/${to}`, { signal, replace: true })
}

async function moveDirectory(from: PointPlace, to: PointPlace, signal: AbortSignal): Promise<void> {
  const { target } = from
  for (let moves = 1; ; moves += 1) {
    await target.mkdir(to.series, { signal })
    try {
      return await target.rename(directoryOf(from), directoryOf(to), { signal })
    } catch (error) {
      const isGone = error instanceof FleetError && error.code === 'not_found'
      if (!isGone || moves === MAX_MOVES || (await target.stat(directoryOf(from), { signal })) === undefined)
        throw error
    }
  }
}

/** The directories of the trash that led to a point, as far as nothing else is in them. */
export async function removeEmptyTrash(place: OwnPlace, signal: AbortSignal): Promise<void> {
  const { target } = place
  if (!target.features.renameDirectory || !target.features.refusesFullDirectory) return
  for (let path = trashedPlaceOf(place).series; path !== ''; path = parentOf(path)) {
    if (!(await isRemoved(target, path, signal))) return
  }
}

async function isRemoved(target: Target, path: string, signal: AbortSignal): Promise<boolean> {
  try {
    await target.remove(path, { signal })
    return true
  } catch (error) {
    if (error instanceof FleetError && error.code === 'conflict') return false
    throw error
  }
}
