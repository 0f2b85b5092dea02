import { FleetError } from '../../shared/errors.ts'
import { PointName } from '../../shared/point-spec.ts'
import { SUMS } from '../archive/frame-table.ts'
import type { Entry, Target, Watch } from '../transfer/transfer.ts'
import { putSums } from './target-sink.ts'

export const METADATA = 'backup-metadata'
/** Of what is being made or removed: no point has such a name. */
const PARTIAL = '.partial'
/** Of single files and parts: somebody else's clock may tell their age. */
const STALE_MS = 24 * 3_600_000
const MAX_SMALL_BYTES = 2 ** 26

/** One point in the directory of its series. */
export interface PointPlace {
  readonly target: Target
  readonly series: string
  readonly name: string
}

export function directoryOf({ series, name }: Omit<PointPlace, 'target'>): string {
  return `${series}/${name}`
}

/** Where a point is written: on a target that cannot rename directories, where it will be. */
export function workingDirectoryOf(place: PointPlace): string {
  const directory = directoryOf(place)
  return place.target.features.renameDirectory ? `${directory}${PARTIAL}` : directory
}

/** An increment that only lives until it is merged with what it completes. */
export function incrementDirectoryOf(place: PointPlace): string {
  return `${directoryOf(place)}.increment${PARTIAL}`
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
 * The written files become the point: by one rename, or by the file that makes a directory a point. A repeat finds it done.
 * @param sums as they were written: by them it is known again. @throws exists when somebody else's point has its name
 */
export async function publish(place: PointPlace, sums: string, signal: AbortSignal): Promise<void> {
  const { target } = place
  const directory = directoryOf(place)
  if (!target.features.renameDirectory) return putSums(target, directory, sums, signal)
  try {
    await target.rename(`${directory}${PARTIAL}`, directory, { signal })
  } catch (error) {
    const isThere = error instanceof FleetError && ['exists', 'not_found'].includes(error.code)
    if (!isThere || (await sumsAt(target, directory, signal)) !== sums) throw error
  }
}

/** A point vanishes at once from under its name, then piece by piece. Absence is well. */
export async function unpublish(place: PointPlace, signal: AbortSignal): Promise<void> {
  const { target } = place
  const directory = directoryOf(place)
  const hidden = `${directory}${PARTIAL}`
  if (!target.features.renameDirectory) {
    await target.remove(`${directory}/${SUMS}`, { signal })
    return discardTree(target, directory, signal)
  }
  if ((await target.stat(directory, { signal })) !== undefined) {
    await discardTree(target, hidden, signal)
    await target.rename(directory, hidden, { signal })
  }
  await discardTree(target, hidden, signal)
}

export async function discardTree(target: Target, directory: string, signal: AbortSignal): Promise<void> {
  try {
    await target.removeTree(directory, { signal })
  } catch (error) {
    if (!isAbsent(error)) throw error
  }
}

/**
 * Takes away what is left in a series of work that ended badly; the series is one order's at a time, so nobody works on it.
 * @param known names of points that need not be looked at
 */
export async function sweepSeries(
  { target, series }: Omit<PointPlace, 'name'>,
  known: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<void> {
  for await (const { name, kind } of entriesOf(target, series, signal)) {
    if (kind !== 'directory' || known.has(name) || !PointName.safeParse(name.split('.')[0]).success) continue
    const isLitter = name.endsWith(PARTIAL) || (await isUnfinished({ target, series, name }, signal))
    if (isLitter) await discardTree(target, `${series}/${name}`, signal)
  }
  await target.sweep(series, { signal, olderThanMs: STALE_MS })
}

/** Where directories cannot be renamed, files stand under the point's name before it is one. */
async function isUnfinished(place: PointPlace, signal: AbortSignal): Promise<boolean> {
  return !place.target.features.renameDirectory && !(await isPoint(place, { signal }))
}

/** @returns nothing where the directory is absent */
export async function* entriesOf(target: Target, path: string, signal: AbortSignal): AsyncGenerator<Entry> {
  let cursor: string | undefined
  do {
    let page: Awaited<ReturnType<Target['list']>>
    try {
      page = await target.list(path, { signal, cursor })
    } catch (error) {
      if (isAbsent(error)) return
      throw error
    }
    yield* page.entries
    cursor = page.cursor
  } while (cursor !== undefined)
}

function isAbsent(error: unknown): boolean {
  return error instanceof FleetError && error.code === 'not_found'
}
