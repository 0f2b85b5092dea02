import { statfs } from 'node:fs/promises'
import { FleetError } from '../../shared/errors.ts'
import { type BytePath, isWithin } from '../archive/byte-path.ts'
import type { Chain } from '../archive/chain.ts'
import type { ArchiveWatch } from '../archive/write-archive.ts'

/** What a file or directory takes beside its content, at the least guess. */
const MEMBER_BYTES = 512
/** What a file system needs for itself while it fills up. */
const SPARE_BYTES = 2 ** 22

export interface Bounds {
  readonly bytes: number
  readonly members: number
}

/** What the chain's archives say that they hold, hidden members included: what is extracted of it cannot be more. */
export function declaredBounds({ points }: Chain): Bounds {
  let [bytes, members] = [0, 0]
  for (const { table } of points) {
    const last = table.data.at(-1)
    bytes += last === undefined ? 0 : last.rawOffset + last.rawBytes
    members += table.totals.members
  }
  return { bytes, members }
}

/** The same of what is really there at a path; reads the index. */
async function exactBounds(chain: Chain, path: BytePath, signal: AbortSignal): Promise<Bounds> {
  let [bytes, members] = [0, 0]
  for await (const found of chain.members(path, signal)) {
    if (!isWithin(found.member.path, path)) break
    for (const { member } of await chain.stack(found, signal)) bytes += member.storedSize
    members += 1
  }
  return { bytes, members }
}

/**
 * Refuses what cannot fit before a byte is written.
 * @param fd on the file system where it would go. @throws no_space
 */
export async function requireFit(
  chain: Chain,
  { paths, fd }: { readonly paths: readonly BytePath[]; readonly fd: number },
  signal: AbortSignal,
): Promise<void> {
  const { bavail, bsize, ffree, files } = await statfs(`/proc/self/fd/${fd}`)
  const isRoom = ({ bytes, members }: Bounds) =>
    bytes + members * MEMBER_BYTES + SPARE_BYTES <= bavail * bsize && (files === 0 || members <= ffree)
  if (isRoom(declaredBounds(chain))) return
  let [bytes, members] = [0, 0]
  for (const path of paths) {
    const exact = await exactBounds(chain, path, signal)
    bytes += exact.bytes
    members += exact.members
  }
  if (!isRoom({ bytes, members }))
    throw new FleetError('no_space', `${members} files of ${bytes} bytes do not fit where they are to be restored`)
}

/** Runs what extracts, and ends it as soon as more comes than was declared. @throws too_large */
export async function withinBounds<Result>(
  bounds: Bounds,
  watch: ArchiveWatch,
  extract: (watch: ArchiveWatch) => Promise<Result>,
): Promise<Result> {
  const over = new AbortController()
  const signal = AbortSignal.any([watch.signal, over.signal])
  try {
    return await extract({
      signal,
      progress(progress) {
        const { bytes = 0, files = 0 } = progress
        if (bytes > bounds.bytes || files > bounds.members) over.abort()
        watch.progress(progress)
      },
    })
  } catch (error) {
    if (!over.signal.aborted || watch.signal.aborted) throw error
    throw new FleetError('too_large', 'the point holds more than it declares', { cause: error })
  }
}
