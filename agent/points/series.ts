import { hash } from 'node:crypto'
import { FleetError } from '../../shared/errors.ts'
import { type OrderTarget, PointName } from '../../shared/point-spec.ts'
import { SUMS } from '../archive/frame-table.ts'
import type { Entry, Target, Watch } from '../transfer/transfer.ts'
import { putSmall, putSums } from './target-sink.ts'

export const METADATA = 'backup-metadata'
/** Of what is being made or removed: no point has such a name. */
const PARTIAL = '.partial'
/** Where directories cannot be renamed: a file that says whose the unfinished ones beside it are. Last by name, so the last to be removed. */
const CLAIM = 'unfinished-'
const OWNER_DIGITS = 12
/** Where directories cannot be renamed, a trashed point's `sums`: so long it is no point, and nobody else's has its name. */
export const TRASHED_SUMS = `${SUMS}.trashed`
/** Of single files and parts: somebody else's clock may tell their age. */
const STALE_MS = 24 * 3_600_000
const MAX_SMALL_BYTES = 2 ** 26
/** Of a directory; a million entries. */
const MAX_PAGES = 1_000

/** One point in the directory of its series. */
export interface PointPlace {
  readonly target: Target
  readonly series: string
  readonly name: string
}

/**
 * Targets of other groups and fleets may lead to the same directory: what is unfinished there is known by whose it is, and only one's
 * own is ever taken away.
 */
export interface OwnPlace extends PointPlace {
  readonly owner: string
}

export function ownerOf({ id }: Pick<OrderTarget, 'id'>): string {
  return id === null ? 'own' : hash('sha256', id, 'hex').slice(0, OWNER_DIGITS)
}

export function directoryOf({ series, name }: Omit<PointPlace, 'target'>): string {
  return `${series}/${name}`
}

/** Where a point is written: on a target that cannot rename directories, where it will be. */
export function workingDirectoryOf(place: OwnPlace): string {
  return place.target.features.renameDirectory ? hiddenDirectoryOf(place) : directoryOf(place)
}

/** Where directories cannot be renamed: a file that says that the point went, whatever the series' metadata go on telling. */
function hiddenDirectoryOf(place: OwnPlace): string {
  return `${directoryOf(place)}.${place.owner}${PARTIAL}`
}

/** An increment that only lives until it is merged with what it completes. */
export function incrementDirectoryOf(place: OwnPlace): string {
  return `${directoryOf(place)}.${place.owner}.increment${PARTIAL}`
}

function isOwnPartial(name: string, owner: string): boolean {
  const [point, ...rest] = name.split('.')
  return PointName.safeParse(point).success && [owner, `${owner}.increment`].includes(rest.slice(0, -1).join('.'))
}

function pointOfPartial(name: string): string {
  return name.split('.')[0] ?? name
}

/** @returns what `sums` holds, or undefined where no point is */
export function sumsAt(target: Target, directory: string, signal: AbortSignal): Promise<string | undefined> {
  return readText(target, `${directory}/${SUMS}`, signal)
}

export async function isPoint(place: PointPlace, { signal }: Watch): Promise<boolean> {
  return (await place.target.stat(`${directoryOf(place)}/${SUMS}`, { signal })) !== undefined
}

/** A small file as text; undefined when it is absent. @throws too_large */
export async function readText(target: Target, path: string, signal: AbortSignal): Promise<string | undefined> {
  try {
    await using source = await target.get(path, { signal })
    if (source.sizeBytes > MAX_SMALL_BYTES) throw new FleetError('too_large', `'${path}' is larger than it may be`)
    return (await source.read(0, source.sizeBytes, signal)).toString()
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw error
  }
}

/**
 * Before the first file is written. Where directories cannot be renamed, two who make a point of one name at the same time would mix
 * their files: whoever sees the other's claim steps back, and at least one of them does.
 * @throws exists
 */
export async function claimDirectory(place: OwnPlace, signal: AbortSignal): Promise<void> {
  const { target } = place
  if (target.features.renameDirectory) return
  await putSmall(target, claimOf(place), 'not a point yet\n', signal)
  const { isPoint, isOthers } = await lookedAt(place, signal)
  if (!isPoint && !isOthers) return
  await target.remove(claimOf(place), { signal })
  throw new FleetError('exists', 'the target holds a point of this name already, or somebody else makes one')
}

/** Once it is a point; harmless where there is no claim. */
export async function releaseClaim(place: OwnPlace, signal: AbortSignal): Promise<void> {
  if (!place.target.features.renameDirectory) await place.target.remove(claimOf(place), { signal })
}

function claimOf(place: OwnPlace): string {
  return `${directoryOf(place)}/${CLAIM}${place.owner}`
}

interface Looked {
  /** Trashed or not. */
  readonly isPoint: boolean
  readonly isOwn: boolean
  readonly isOthers: boolean
}

/** Where directories cannot be renamed: what stands under the point's name. */
async function lookedAt(place: OwnPlace, signal: AbortSignal): Promise<Looked> {
  let [isPoint, isOwn, isOthers] = [false, false, false]
  for await (const { name } of entriesOf(place.target, directoryOf(place), signal)) {
    isPoint ||= name === SUMS || name === TRASHED_SUMS
    isOwn ||= name === `${CLAIM}${place.owner}`
    isOthers ||= name.startsWith(CLAIM) && name !== `${CLAIM}${place.owner}`
  }
  return { isPoint, isOwn, isOthers }
}

/** Takes away what an earlier run left of the point: never the point, and nothing of others. */
export async function discardUnfinished(place: OwnPlace, signal: AbortSignal): Promise<void> {
  const { target } = place
  await discardTree(target, incrementDirectoryOf(place), signal)
  if (target.features.renameDirectory) return discardTree(target, hiddenDirectoryOf(place), signal)
  const { isPoint, isOwn, isOthers } = await lookedAt(place, signal)
  if (isPoint) return
  if (isOwn) await (isOthers ? releaseClaim(place, signal) : discardTree(target, directoryOf(place), signal))
  await target.remove(hiddenDirectoryOf(place), { signal })
}

/**
 * The written files become the point: by one rename, or by the file that makes a directory a point. A repeat finds it done.
 * @param sums as they were written: by them it is known again. @throws exists when somebody else's point has its name
 */
export async function publish(place: OwnPlace, sums: string, signal: AbortSignal): Promise<void> {
  const { target } = place
  const directory = directoryOf(place)
  if (!target.features.renameDirectory) return putSums(target, directory, sums, signal)
  try {
    await target.rename(hiddenDirectoryOf(place), directory, { signal })
  } catch (error) {
    const isThere = error instanceof FleetError && ['exists', 'not_found'].includes(error.code)
    if (!isThere || !(await isPublished(place, sums, signal))) throw error
  }
}

/** Whether the point stands that was written: another's may be of the same bytes, and then one's own still lies beside it. */
export async function isPublished(place: OwnPlace, sums: string, signal: AbortSignal): Promise<boolean> {
  const { target } = place
  if ((await sumsAt(target, directoryOf(place), signal)) !== sums) return false
  return !target.features.renameDirectory || (await target.stat(hiddenDirectoryOf(place), { signal })) === undefined
}

/** A point vanishes at once from under its name; `discardUnfinished` takes away what it was. Absence is well. */
export async function hide(place: OwnPlace, signal: AbortSignal): Promise<void> {
  const { target } = place
  const directory = directoryOf(place)
  if (!target.features.renameDirectory) {
    if (!(await lookedAt(place, signal)).isPoint) return
    for (const path of [claimOf(place), hiddenDirectoryOf(place)])
      await putSmall(target, path, 'no point any more\n', signal)
    await target.remove(`${directory}/${TRASHED_SUMS}`, { signal })
    return target.remove(`${directory}/${SUMS}`, { signal })
  }
  if ((await target.stat(directory, { signal })) === undefined) return
  await discardTree(target, hiddenDirectoryOf(place), signal)
  await target.rename(directory, hiddenDirectoryOf(place), { signal })
}

export async function discardTree(target: Target, directory: string, signal: AbortSignal): Promise<void> {
  try {
    await target.removeTree(directory, { signal })
  } catch (error) {
    if (!isAbsent(error)) throw error
  }
}

/**
 * Takes away what is left in a series of one's own work that ended badly; of this owner the series is one order's at a time, so nobody
 * works on that.
 * @param known names of points that need not be looked at
 */
export async function sweepSeries(
  { target, series, owner }: Omit<OwnPlace, 'name'>,
  known: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<void> {
  for await (const { name, kind } of entriesOf(target, series, signal)) {
    if (kind === 'file' && isOwnPartial(name, owner))
      await discardUnfinished({ target, series, name: pointOfPartial(name), owner }, signal)
    if (kind !== 'directory' || known.has(name)) continue
    if (name.endsWith(PARTIAL)) {
      if (isOwnPartial(name, owner)) await discardTree(target, `${series}/${name}`, signal)
    } else if (!target.features.renameDirectory && PointName.safeParse(name).success)
      await discardUnfinished({ target, series, name, owner }, signal)
  }
  await target.sweep(series, { signal, olderThanMs: STALE_MS })
}

/** @returns nothing where the directory is absent. @throws too_large */
export async function* entriesOf(target: Target, path: string, signal: AbortSignal): AsyncGenerator<Entry> {
  let cursor: string | undefined
  for (let pages = 0; pages < MAX_PAGES; pages += 1) {
    let page: Awaited<ReturnType<Target['list']>>
    try {
      page = await target.list(path, { signal, cursor })
    } catch (error) {
      if (isAbsent(error)) return
      throw error
    }
    yield* page.entries
    cursor = page.cursor
    if (cursor === undefined) return
  }
  throw new FleetError('too_large', `target '${target.name}': the directory holds too many entries`)
}

function isAbsent(error: unknown): boolean {
  return error instanceof FleetError && error.code === 'not_found'
}
