import { closeSync } from 'node:fs'
import { comparePaths, isWithin } from './byte-path.ts'
import type { Chain, ChainMember, LaterEntry } from './chain.ts'
import type { Extracted, ExtractRequest } from './extract.ts'
import type { Member } from './member.ts'
import { ReadPlan } from './read/read-plan.ts'
import { runReader } from './run-reader.ts'
import { LinkTable } from './write/link-table.ts'
import { openUnlinked } from './write/spool.ts'
import type { ArchiveWatch } from './write-archive.ts'

/** Files with several names that are counted; of more, all names are looked for. */
const MAX_COUNTED = 200_000

export interface UpdateRequest extends Omit<ExtractRequest, 'path'> {
  /** Which of the chain's points the tree is of. */
  readonly from: number
}

/**
 * Brings a tree that was extracted from one point of a chain to its last one, in place: what the archives behind it say is made anew,
 * and what they say is gone goes. Reads of them alone, and of the older ones only where names of one file lie in both. A tree
 * that half of this was done to may be given again.
 * @throws as `extract`
 */
export async function update(request: UpdateRequest, watch: ArchiveWatch): Promise<Extracted> {
  const { chain, from, subject, rootFd, policy, scratch } = request
  const linkSpillFd = openUnlinked(scratch)
  const namesSpillFd = openUnlinked(scratch)
  try {
    const older = await olderNames(chain, { from, spillFd: namesSpillFd }, watch.signal)
    return await runReader(
      { subject, mode: 'extract', rootFd, policy: { ...policy, ordered: true, isUpdate: true } },
      async (send, signal) => {
        const options = { sequential: chain.points.length - from === 2, tolerant: false, asStored: false, linkSpillFd }
        const plan = new ReadPlan(chain, send, signal, options)
        for await (const { entry, layer, replaces } of changes(chain, { from, older }, signal)) {
          const { path } = entry
          if (entry.type === 'gone') await plan.gone(path)
          else await plan.add({ member: entry, layer }, path, replaces ? 'all' : 'other')
        }
        await plan.flush()
      },
      watch,
    )
  } finally {
    closeSync(linkSpillFd)
    closeSync(namesSpillFd)
  }
}

/**
 * Files of which only some names are in the later archives: the others may be unchanged, in older ones, and must become names of what
 * is made anew.
 */
async function olderNames(
  chain: Chain,
  { from, spillFd }: { readonly from: number; readonly spillFd: number },
  signal: AbortSignal,
): Promise<LinkTable | undefined> {
  const table = new LinkTable(spillFd)
  const missing = new Map<number, number>()
  let isSure = true
  for await (const { entry } of chain.changesBehind(from, signal)) {
    if (!hasNames(entry)) continue
    const left = (missing.get(entry.inode) ?? entry.links) - 1
    if (left === 0) missing.delete(entry.inode)
    else missing.set(entry.inode, left)
    isSure &&= missing.size <= MAX_COUNTED
    if (!isSure) missing.clear()
    if (!table.has(entry.inode)) table.remember(entry.inode, { path: entry.ctime, offset: 0 })
  }
  return isSure && missing.size === 0 ? undefined : table
}

function hasNames(entry: LaterEntry['entry']): entry is Member {
  return entry.type !== 'gone' && entry.type !== 'directory' && entry.links > 1
}

async function* changes(
  chain: Chain,
  { from, older }: { readonly from: number; readonly older: LinkTable | undefined },
  signal: AbortSignal,
): AsyncGenerator<LaterEntry> {
  const later = chain.changesBehind(from, signal)
  if (older === undefined) return yield* later
  let next = await later.next()
  for await (const { member, layer } of namesBefore(chain, { from, older }, signal)) {
    for (; next.done !== true && comparePaths(next.value.entry.path, member.path) < 0; next = await later.next())
      yield next.value
    yield { entry: member, layer, replaces: member.type !== 'directory' }
  }
  for (; next.done !== true; next = await later.next()) yield next.value
}

/** In the older archives, with the directories above that no later one has: the time of one is moved. */
async function* namesBefore(
  chain: Chain,
  { from, older }: { readonly from: number; readonly older: LinkTable },
  signal: AbortSignal,
): AsyncGenerator<ChainMember> {
  const above: { readonly found: ChainMember; told: boolean }[] = []
  for await (const found of chain.members('', signal)) {
    const { member, layer } = found
    while (above.length > 0 && !isWithin(member.path, above.at(-1)?.found.member.path ?? '')) above.pop()
    if (member.type === 'directory') above.push({ found, told: layer > from })
    if (layer > from || !hasNames(member) || older.find(member.inode)?.path !== member.ctime) continue
    for (const directory of above) {
      if (!directory.told) yield directory.found
      directory.told = true
    }
    yield found
  }
}
