import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { PointName } from '../../shared/point-spec.ts'
import type { ReadAnswerOf, TargetEntry } from '../../shared/wire/reads.ts'
import type { Entry, Target } from '../transfer/transfer.ts'
import type { Question } from './answers.ts'
import { ROOT_MARK } from './backup-root.ts'
import { decodeCursor, encodeCursor } from './cursor.ts'
import type { PointTools } from './point-tools.ts'
import { isPoint, TRASHED_SUMS } from './series.ts'
import { type PointRecord, readMetadata } from './series-metadata.ts'
import { isTrash } from './trash.ts'

/** Each directory costs a request that asks for its metadata. */
const MAX_LOOKED_INTO = 100
/** Of an answer, which is one message of at most a MiB: with those that are looked at together it stays below that. */
const ENOUGH_BYTES = 700_000
const LOOKS_AT_ONCE = 4
const MAX_NAMES = 1_000

/** Where in the target's own pages the next one begins: after the page at `page`, so many entries in. */
const Place = z.object({ page: z.string().nullable(), skip: z.number().int().nonnegative() })

/** A directory of a target; those that hold points say which. A page ends early when it is time to answer, or the answer is large. */
export async function listTarget(
  tools: PointTools,
  { id, request, sealed, signal, untilMs }: Question<'target-list'>,
): Promise<ReadAnswerOf<'target-list'>> {
  const { target: asked, path, limit } = request
  await using lease = await tools.lease({ target: asked, sealed, context: `read/${id}` })
  const place = request.cursor === undefined ? { page: null, skip: 0 } : decodeCursor(request.cursor, Place)
  const page = await lease.target.list(path, { signal, cursor: place.page ?? undefined })
  const entries = page.entries.slice(place.skip, place.skip + limit)
  const { items, count } = await tellSome(lease.target, { path, entries, untilMs }, signal)
  const reached = place.skip + count
  if (reached < page.entries.length) return { items, next: encodeCursor({ page: place.page, skip: reached }) }
  return { items, next: page.cursor === undefined ? null : encodeCursor({ page: page.cursor, skip: 0 }) }
}

/** @returns how many of the entries it has looked at: one at least, where there is any */
async function tellSome(
  target: Target,
  { path, entries, untilMs }: { readonly path: string; readonly entries: readonly Entry[]; readonly untilMs: number },
  signal: AbortSignal,
): Promise<{ readonly items: TargetEntry[]; readonly count: number }> {
  const items: TargetEntry[] = []
  let [count, directories, bytes] = [0, 0, 0]
  const isOver = () => directories >= MAX_LOOKED_INTO || bytes >= ENOUGH_BYTES || performance.now() > untilMs
  while (count < entries.length && (count === 0 || !isOver())) {
    const some = entries.slice(count, count + LOOKS_AT_ONCE)
    const shown = await Promise.all(some.map((entry) => told(target, path, entry, signal)))
    const found = shown.filter((item) => item !== undefined)
    items.push(...found)
    count += some.length
    directories += some.filter(({ kind }) => kind === 'directory').length
    bytes += Buffer.byteLength(JSON.stringify(found))
  }
  return { items, count }
}

/** Undefined for what is not shown. */
async function told(target: Target, path: string, entry: Entry, signal: AbortSignal): Promise<TargetEntry | undefined> {
  const { name, kind, sizeBytes, modifiedAt } = entry
  if (name === ROOT_MARK || isTrash(name) || (await isTrashed(target, path, entry, signal))) return undefined
  const item = { name, kind, sizeBytes, modifiedAt: modifiedAt?.toISOString() ?? null }
  if (kind !== 'directory') return item
  const records = await readMetadata(target, path === '' ? name : `${path}/${name}`, signal).catch(noneIfClosed)
  if (records.length === 0) return item
  return {
    ...item,
    points: records
      .map((record) => record.name)
      .reverse()
      .slice(0, MAX_NAMES),
  }
}

/** What lies beside points is others': a directory that may not be looked into keeps nobody from seeing the rest. */
function noneIfClosed(error: unknown): PointRecord[] {
  if (error instanceof FleetError && ['refused', 'invalid', 'too_large'].includes(error.code)) return []
  throw error
}

/** Where directories cannot be renamed, a trashed point stays in its series. */
async function isTrashed(target: Target, series: string, { name, kind }: Entry, signal: AbortSignal): Promise<boolean> {
  if (target.features.renameDirectory || kind !== 'directory' || !PointName.safeParse(name).success) return false
  const isMarked = (await target.stat(`${series}/${name}/${TRASHED_SUMS}`, { signal })) !== undefined
  return isMarked && !(await isPoint({ target, series, name }, { signal }))
}
