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
const LOOKS_AT_ONCE = 4
const MAX_NAMES = 1_000

/** Where in the target's own pages the next one begins: after the page at `page`, so many entries in. */
const Place = z.object({ page: z.string().nullable(), skip: z.number().int().nonnegative() })

/** A directory of a target; those that hold points say which. */
export async function listTarget(
  tools: PointTools,
  { id, request, sealed, signal }: Question<'target-list'>,
): Promise<ReadAnswerOf<'target-list'>> {
  const { target: asked, path } = request
  const limit = Math.min(request.limit, MAX_LOOKED_INTO)
  await using lease = await tools.lease({ target: asked, sealed, context: `read/${id}` })
  const place = request.cursor === undefined ? { page: null, skip: 0 } : decodeCursor(request.cursor, Place)
  const page = await lease.target.list(path, { signal, cursor: place.page ?? undefined })
  const entries = page.entries.slice(place.skip, place.skip + limit)
  const items = await toldAll(lease.target, { path, entries }, signal)
  const reached = place.skip + entries.length
  if (reached < page.entries.length) return { items, next: encodeCursor({ page: place.page, skip: reached }) }
  return { items, next: page.cursor === undefined ? null : encodeCursor({ page: page.cursor, skip: 0 }) }
}

async function toldAll(
  target: Target,
  { path, entries }: { readonly path: string; readonly entries: readonly Entry[] },
  signal: AbortSignal,
): Promise<TargetEntry[]> {
  const items: TargetEntry[] = []
  for (let at = 0; at < entries.length; at += LOOKS_AT_ONCE) {
    const some = entries.slice(at, at + LOOKS_AT_ONCE)
    items.push(
      ...(await Promise.all(some.map((entry) => told(target, path, entry, signal)))).filter(
        (item) => item !== undefined,
      ),
    )
  }
  return items
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
