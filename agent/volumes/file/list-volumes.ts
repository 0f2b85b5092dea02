import { readdir } from 'node:fs/promises'
import { setImmediate as breathe } from 'node:timers/promises'
import { toFleetError } from '../../../shared/errors.ts'
import { close, openBeneath } from '../../native/paths.ts'
import { asFleetError } from '../../native/system-error.ts'
import type { Volume, VolumeSnapshot } from '../volumes.ts'
import { findSnapshot, findVolume } from './images.ts'
import { childrenOf, entryOf, openIfAny, READ_FOLDER, snapshotsOf, type VolumeTree } from './volume-tree.ts'

/** Between two of these many the event loop runs. */
const TURN = 32
/** Of one volume; what a host is asked for is answered in one message. */
const MAX_SNAPSHOTS = 10_000

export type ListedVolume = Volume & { readonly snapshots: readonly VolumeSnapshot[] }

/** In the order of paths as strings. Folders that can hold nothing behind `after` are not read. */
export async function listVolumes(
  tree: VolumeTree,
  rootFd: number,
  { after, limit }: { readonly after: string; readonly limit: number },
): Promise<readonly ListedVolume[]> {
  const listed: ListedVolume[] = []
  for await (const path of pathsBehind(rootFd, after, undefined)) {
    if (listed.length >= limit) break
    const volume = readable(() => findVolume(tree, rootFd, path))
    if (volume !== undefined) listed.push({ ...volume, snapshots: await snapshotsBelow(rootFd, path) })
    if (listed.length % TURN === 0) await breathe()
  }
  return listed
}

/** What is no image, but has the name of one, hides no others. */
function readable<Found>(read: () => Found): Found | undefined {
  try {
    return read()
  } catch (error) {
    const { code } = toFleetError(asFleetError(error, 'volume'))
    if (code === 'refused' || code === 'conflict') return undefined
    throw error
  }
}

/** Of volumes; `a-b` before `a/b`, as `-` is before `/`. */
async function* pathsBehind(rootFd: number, after: string, parent: string | undefined): AsyncGenerator<string> {
  const prefix = parent === undefined ? '' : `${parent}/`
  const keys: string[] = []
  for (const name of await namesIn(rootFd, parent === undefined ? '.' : childrenOf(parent))) {
    const entry = entryOf(name)
    if (entry?.kind === 'image') keys.push(`${prefix}${entry.name}`)
    if (entry?.kind === 'children') keys.push(`${prefix}${entry.name}/`)
  }
  for (const key of keys.sort(compare)) {
    if (!key.endsWith('/')) {
      if (key > after) yield key
      continue
    }
    // Everything below begins with the key: behind `after` if that is, or some of it if `after` itself is below.
    if (key > after || after.startsWith(key)) yield* pathsBehind(rootFd, after, key.slice(0, -1))
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

async function snapshotsBelow(rootFd: number, volume: string): Promise<readonly VolumeSnapshot[]> {
  const names = (await namesIn(rootFd, snapshotsOf(volume)))
    .map(entryOf)
    .flatMap((entry) => (entry?.kind === 'image' ? [entry.name] : []))
    .sort(compare)
  const snapshots: VolumeSnapshot[] = []
  for (const [n, name] of names.slice(0, MAX_SNAPSHOTS).entries()) {
    const snapshot = readable(() => findSnapshot(rootFd, volume, name))
    if (snapshot !== undefined) snapshots.push(snapshot)
    if (n % TURN === TURN - 1) await breathe()
  }
  return snapshots
}

/** None where the folder is absent, or none. */
async function namesIn(rootFd: number, folder: string): Promise<readonly string[]> {
  const fd =
    folder === '.' ? openBeneath(rootFd, '.', READ_FOLDER) : readable(() => openIfAny(rootFd, folder, READ_FOLDER))
  if (fd === undefined) return []
  try {
    return await readdir(`/proc/self/fd/${fd}`)
  } finally {
    close(fd)
  }
}
