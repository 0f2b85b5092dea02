import { createHash } from 'node:crypto'
import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { Id } from '../../shared/ids.ts'
import { PointName } from '../../shared/point-spec.ts'
import type { Target } from '../transfer/transfer.ts'
import { ImageRecord } from './image-record.ts'
import { directoryOf, entriesOf, isPoint, METADATA, readText, sumsAt } from './series.ts'
import { putSmall } from './target-sink.ts'

const count = z.number().int().nonnegative()

/** What is told of a point to whoever finds its directory. Of one that was found there and not made here only the name is known. */
export const PointRecord = z.looseObject({
  name: PointName,
  id: Id.optional(),
  /** Names of the points that it completes, oldest first. */
  chain: z.array(PointName).optional(),
  /** Of its `sums`: whoever trusts this file can check all of the point by it. */
  sumsSha256: z.string().optional(),
  full: z.boolean().optional(),
  synthetic: z.boolean().optional(),
  encrypted: z.boolean().optional(),
  /** Of whoever it is encrypted for: hashes, as a file of age names nobody. */
  readers: z.array(z.string()).optional(),
  consistency: z.enum(['crash', 'fuzzy']).optional(),
  members: count.optional(),
  sourceBytes: count.optional(),
  storedBytes: count.optional(),
  problems: count.optional(),
  finishedAt: z.string().optional(),
  source: z.unknown().optional(),
  image: ImageRecord.optional(),
  about: z.record(z.string(), z.string()).optional(),
})
export type PointRecord = z.infer<typeof PointRecord>

const Metadata = z.looseObject({ version: z.literal(1), points: z.array(PointRecord) })

/** Oldest first; none where the file is absent, damaged or of another version. */
export async function readMetadata(target: Target, series: string, signal: AbortSignal): Promise<PointRecord[]> {
  const text = await readText(target, `${series}/${METADATA}`, signal).catch(noneIfCorrupt)
  const parsed = text === undefined ? undefined : Metadata.safeParse(parseJson(text))
  return parsed?.success ? parsed.data.points.toSorted(byName) : []
}

/**
 * Writes the series' file anew, whole or not at all: with what it said of points that are still there, with points that stand
 * in the directory and it did not know, with `made` and without `gone`.
 */
export async function updateMetadata(
  place: { readonly target: Target; readonly series: string },
  change: { readonly made?: PointRecord; readonly gone?: string },
  signal: AbortSignal,
): Promise<void> {
  const { target, series } = place
  const known = new Map((await readMetadata(target, series, signal)).map((record) => [record.name, record]))
  const standing = new Set<string>()
  for await (const { name, kind } of entriesOf(target, series, signal)) {
    if (kind === 'directory' && PointName.safeParse(name).success) standing.add(name)
  }
  for (const name of known.keys()) if (!standing.has(name)) known.delete(name)
  for (const name of standing) {
    if (known.has(name) || name === change.made?.name || name === change.gone) continue
    if (await isPoint({ ...place, name }, { signal })) known.set(name, await found({ ...place, name }, signal))
  }
  if (change.made !== undefined) known.set(change.made.name, change.made)
  if (change.gone !== undefined) known.delete(change.gone)
  await put(place, [...known.values()].toSorted(byName), signal)
}

async function found(
  place: { readonly target: Target; readonly series: string; readonly name: string },
  signal: AbortSignal,
): Promise<PointRecord> {
  const sums = await sumsAt(place.target, directoryOf(place), signal).catch(noneIfCorrupt)
  return { name: place.name, ...(sums === undefined ? {} : { sumsSha256: sha256(sums) }) }
}

async function put(
  { target, series }: { readonly target: Target; readonly series: string },
  points: readonly PointRecord[],
  signal: AbortSignal,
): Promise<void> {
  const path = `${series}/${METADATA}`
  if (points.length === 0) return target.remove(path, { signal })
  const text = `${JSON.stringify({ version: 1, points }, null, 2)}\n`
  await putSmall(target, path, text, signal)
}

/** As a point's record names those that it is encrypted for. */
export function readersOf(recipients: readonly string[]): string[] {
  return recipients.map(sha256)
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

function byName(a: PointRecord, b: PointRecord): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0
}

/** For what is as good as absent where its disk does not give it back. */
export function noneIfCorrupt(error: unknown): undefined {
  if (error instanceof FleetError && error.code === 'corrupt') return undefined
  throw error
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // damaged: it is made again from what stands in the directory
  }
}
