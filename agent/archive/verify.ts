import { closeSync } from 'node:fs'
import { FleetError } from '../../shared/errors.ts'
import type { BytePath } from './byte-path.ts'
import { Chain } from './chain.ts'
import type { Point } from './point.ts'
import { ReadPlan } from './read/read-plan.ts'
import { runReader } from './run-reader.ts'
import { openUnlinked } from './write/spool.ts'
import type { ArchiveWatch } from './write-archive.ts'

export interface Verified {
  readonly files: number
  readonly bytes: number
  /** Members whose bytes are not those that were stored: at most a thousand paths. `damagedCount` counts all. */
  readonly damaged: readonly BytePath[]
  readonly damagedCount: number
  /** False: what no member lies in is damaged, so other tools cannot read the archive. */
  readonly isWhole: boolean
}

/** Reads everything that one archive holds, and compares frames, headers and contents with what the index says of them. */
export async function verify(
  request: { readonly subject: string; readonly point: Point; readonly scratch: string },
  watch: ArchiveWatch,
): Promise<Verified> {
  const { subject, point, scratch } = request
  const linkSpillFd = openUnlinked(scratch)
  const policy = { devices: 'refuse', symlinks: 'keep', ordered: true } as const
  let end = 0
  try {
    const found = await runReader(
      { subject, mode: 'check', rootFd: -1, policy },
      async (send, signal) => {
        const chain = Chain.ofOne(point)
        const plan = new ReadPlan(chain, send, signal, {
          sequential: true,
          tolerant: true,
          asStored: true,
          linkSpillFd,
        })
        for await (const entry of point.entries('', signal)) {
          if (entry.type === 'gone') continue
          await plan.add({ member: entry, layer: 0 }, entry.path)
          end = entry.dataOffset + entry.storedSize
        }
        await plan.flush()
      },
      watch,
    )
    return { ...found, isWhole: point.endsWithFrames && (await isSound(point, end, watch.signal)) }
  } finally {
    closeSync(linkSpillFd)
  }
}

/** Frames that begin behind the last member. @param end of that, in the tar */
async function isSound(point: Point, end: number, signal: AbortSignal): Promise<boolean> {
  try {
    for (const [number, { rawOffset }] of point.table.data.entries())
      if (rawOffset >= end) await point.frame(number, signal)
    return true
  } catch (error) {
    if (error instanceof FleetError && error.code === 'corrupt') return false
    throw error
  }
}
