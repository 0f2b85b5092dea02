import { createHash } from 'node:crypto'
import { readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Watch } from '../../drivers/driver.ts'
import { listTree } from '../../drivers/tree/list-tree.ts'
import { syncFileSystem } from '../../native/file-system.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import { type ListedChange, type ListedFiles, NO_FILES } from '../../tree/listing-diff.ts'
import { SETTLED_MS } from '../../tree/stamps.ts'
import type { PipelineTools } from '../pipeline.ts'

const PARTIAL = '.partial'
const KEY_DIGITS = 32
/** Of all listings on this host; those that nobody used for longest make room. */
const MAX_KEPT_BYTES = 2 ** 30

/** Whose listing it is: one is kept for each source in each series. */
export interface Listed {
  /** A dataset's id, or a path. */
  readonly source: string
  /** Target and directory. */
  readonly series: string
  readonly pointId: string
  /** Of the point that is to be completed. */
  readonly baseId: string | undefined
}

/** What was found out about a tree that lives, before anything of it is read. */
export interface Looked {
  /** What changed then or later may change again unseen. */
  readonly settledBeforeMs: number
  /** What differs from the tree of the point that is to be completed; undefined where that is not known. */
  readonly changes: readonly ListedChange[] | undefined
  /** Of what differs. */
  readonly files: ListedFiles
  /** Since the epoch: what was dirty then is clean. */
  readonly startedMs: number
  /** The point stands: the next is compared with this. Durable when it resolves, and the older one gone; or neither is. */
  keep(): Promise<void>
  drop(): void
}

/**
 * Lists a tree (drivers/tree/list-tree.ts) and compares it with the listing that was made for the point below. Its dirty pages are
 * written first: a write through a mapping moves the ctime only of a clean page, so what changes from here on has a later one.
 * @param rootFd open for reading @throws cancelled
 */
export async function lookForChanges(
  tools: PipelineTools,
  { rootFd, listed }: { readonly rootFd: number; readonly listed: Listed },
  watch: Watch,
): Promise<Looked> {
  const startedMs = Date.now()
  const settledBeforeMs = startedMs - SETTLED_MS
  await syncFileSystem(rootFd)
  const folder = tools.points.listings
  const prefix = `${keyOf(listed.source)}.${keyOf(listed.series)}.`
  const path = join(folder, `${prefix}${listed.pointId}${PARTIAL}`)
  const base = listed.baseId === undefined ? undefined : join(folder, prefix + listed.baseId)
  const tree = await listTree({ rootFd, settledBeforeMs, base, path }, watch)
  return {
    settledBeforeMs,
    changes: tree?.changes,
    files: tree?.files ?? NO_FILES,
    startedMs,

    async keep() {
      if (tree === undefined) return
      const name = prefix + listed.pointId
      try {
        await flush(path)
        renameSync(path, join(folder, name))
        remove(folder, (other) => other.startsWith(prefix) && other !== name && !other.includes(PARTIAL))
        makeRoom(folder)
      } catch (error) {
        // The state directory is full, say: the next point walks.
        if (errorCodeOf(error) === undefined) throw error
        rmSync(path, { force: true })
      }
    },
    drop: () => rmSync(path, { force: true }),
  }
}

/** All that is kept of a source. */
export function dropListings(tools: PipelineTools, source: string): void {
  remove(tools.points.listings, (name) => name.startsWith(`${keyOf(source)}.`))
}

/** What is kept for a point, which is no more. */
export function dropListingOf(tools: Pick<PipelineTools, 'points'>, pointId: string): void {
  remove(tools.points.listings, (name) => name.endsWith(`.${pointId}`))
}

function remove(folder: string, isIt: (name: string) => boolean): void {
  for (const name of readdirSync(folder)) if (isIt(name)) rmSync(join(folder, name), { force: true })
}

/** Before it has its name, as a listing that was torn would tell of files what it does not know. */
async function flush(path: string): Promise<void> {
  const file = await open(path, 'r')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}

function makeRoom(folder: string): void {
  const kept = readdirSync(folder).flatMap((name) => {
    const status = statSync(join(folder, name), { throwIfNoEntry: false })
    return status === undefined || name.includes(PARTIAL) ? [] : [{ name, bytes: status.size, at: status.ctimeMs }]
  })
  let bytes = kept.reduce((sum, listing) => sum + listing.bytes, 0)
  for (const listing of kept.sort((a, b) => a.at - b.at)) {
    if (bytes <= MAX_KEPT_BYTES) return
    rmSync(join(folder, listing.name), { force: true })
    bytes -= listing.bytes
  }
}

function keyOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, KEY_DIGITS)
}
