import { readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Id } from '../../../shared/ids.ts'
import { MAX_ASKED_POINTS } from '../../../shared/wire/messages.ts'
import { sweepEach } from '../../drivers/sweep-each.ts'
import type { PipelineTools } from '../pipeline.ts'
import { dropBaseOf } from './base-snapshots.ts'

/** Without its index an encrypted point is read by nobody here: that of one that nobody knows stays for a while, should it come back. */
const INDEX_DAYS = 30
const DAY_MS = 86_400_000

/**
 * Drops what is kept for points that are no more: they were deleted by other hosts, while this one was away. Snapshots go at once, as they
 * hold blocks and serve nothing but the next increment.
 * @param known those of the ids that points have. @throws what it throws; what the first of those says that cannot be dropped now, when all others are
 */
export async function forgetUnknown(
  tools: Pick<PipelineTools, 'points' | 'driver' | 'volumes'>,
  known: (ids: readonly string[]) => Promise<readonly string[]>,
  nowMs: number,
): Promise<{ readonly bases: number; readonly indexes: number }> {
  const { own, indexes: folder } = tools.points
  const bases = new Set(own.all().flatMap(({ dataset, use }) => (use.kind === 'base' ? [dataset] : [])))
  const indexes = new Set(readdirSync(folder).filter((name) => isOld(join(folder, name), nowMs)))
  const kept = [...bases, ...indexes].filter((id) => Id.safeParse(id).success)
  const gone: string[] = []
  for (let at = 0; at < kept.length; at += MAX_ASKED_POINTS) {
    const asked = kept.slice(at, at + MAX_ASKED_POINTS)
    const standing = new Set(await known(asked))
    gone.push(...asked.filter((id) => !standing.has(id)))
  }
  const dropped = { bases: 0, indexes: 0 }
  await sweepEach([...new Set(gone)], async (id) => {
    if (indexes.has(id)) {
      rmSync(join(folder, id), { recursive: true, force: true })
      dropped.indexes += 1
    }
    if (!bases.has(id)) return
    await dropBaseOf(tools, id)
    dropped.bases += 1
  })
  return dropped
}

function isOld(path: string, nowMs: number): boolean {
  const found = statSync(path, { throwIfNoEntry: false })
  return found !== undefined && nowMs - found.mtimeMs > INDEX_DAYS * DAY_MS
}
