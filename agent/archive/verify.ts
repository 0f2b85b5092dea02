import { closeSync } from 'node:fs'
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
}

/** Reads everything that one archive holds, and compares frames, headers and contents with what the index says of them. */
export async function verify(
  request: { readonly subject: string; readonly point: Point; readonly scratch: string },
  watch: ArchiveWatch,
): Promise<Verified> {
  const { subject, point, scratch } = request
  const linkSpillFd = openUnlinked(scratch)
  const policy = { devices: 'refuse', symlinks: 'keep', ordered: true } as const
  try {
    return await runReader(
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
          if (entry.type !== 'gone') await plan.add({ member: entry, layer: 0 }, entry.path)
        }
        await plan.flush()
      },
      watch,
    )
  } finally {
    closeSync(linkSpillFd)
  }
}
