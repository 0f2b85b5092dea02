import { FleetError } from '../../shared/errors.ts'
import { type BytePath, comparePaths, displayPath, isWithin, nameOf, parentOf } from './byte-path.ts'
import type { Chain } from './chain.ts'
import type { Member } from './member.ts'
import { isSettled } from './write/identity.ts'

/** How much of a subtree is read past before a jump behind it is cheaper: about one frame of the index. */
const READ_PAST = 1_000
/** Of one search, before it answers with a cursor instead of more. */
const SEARCH_PAST = 100_000

export interface Page {
  readonly members: readonly Member[]
  /** Where the next page begins; undefined on the last. */
  readonly next: BytePath | undefined
}

/**
 * What stands directly in a directory, in the order of bytes.
 * @param cursor `next` of the page before. @param untilMs by the clock of `performance.now()`: then a page may be short, or empty, and not the
 * last; each goes further than the one before. @throws not_found, conflict (not a directory)
 */
export async function listDirectory(
  chain: Chain,
  request: { readonly path: BytePath; readonly cursor?: BytePath; readonly limit: number; readonly untilMs?: number },
  signal: AbortSignal,
): Promise<Page> {
  const { path, cursor, limit, untilMs = Number.POSITIVE_INFINITY } = request
  const top = await chain.find(path, signal)
  if (top === undefined) throw new FleetError('not_found', `'${displayPath(path)}' is not in this point`)
  if (top.member.type !== 'directory') throw new FleetError('conflict', `'${displayPath(path)}' is not a directory`)
  const members: Member[] = []
  let from: BytePath | undefined = cursor ?? path
  while (from !== undefined) {
    const step = await readLevel(chain, { path, from, members, limit }, signal)
    if (step.full !== undefined) return { members, next: step.full }
    from = step.jump
    if (from !== undefined && performance.now() > untilMs) return { members, next: from }
  }
  return { members, next: undefined }
}

/** Reads on until the page is full, the directory ends, or a subtree is so large that it is jumped over. */
async function readLevel(
  chain: Chain,
  to: { readonly path: BytePath; readonly from: BytePath; readonly members: Member[]; readonly limit: number },
  signal: AbortSignal,
): Promise<{ readonly full?: BytePath; readonly jump?: BytePath }> {
  let past = 0
  for await (const { member } of chain.members(to.from, signal)) {
    if (member.path === to.path) continue
    if (!isWithin(member.path, to.path)) return {}
    if (parentOf(member.path) !== to.path) {
      past += 1
      // A NUL sorts behind all that is below a directory and before its next sibling.
      if (past > READ_PAST) return { jump: `${childOf(member.path, to.path)}\0` }
      continue
    }
    if (to.members.length === to.limit) return { full: member.path }
    to.members.push(member)
    past = 0
  }
  return {}
}

function childOf(path: BytePath, directory: BytePath): BytePath {
  const end = path.indexOf('/', directory === '' ? 0 : directory.length + 1)
  return end < 0 ? path : path.slice(0, end)
}

/** Members whose own name holds all of the text, whatever the case; a page may be short and not the last. @param untilMs as in `listDirectory` */
export async function search(
  chain: Chain,
  request: { readonly text: string; readonly cursor?: BytePath; readonly limit: number; readonly untilMs?: number },
  signal: AbortSignal,
): Promise<Page> {
  const { untilMs = Number.POSITIVE_INFINITY } = request
  const wanted = request.text.toLowerCase()
  const members: Member[] = []
  let past = 0
  for await (const { member } of chain.members(request.cursor ?? '', signal)) {
    const isOver = past > 0 && performance.now() > untilMs
    if (members.length === request.limit || past === SEARCH_PAST || isOver) return { members, next: member.path }
    past += 1
    if (member.path !== '' && displayPath(nameOf(member.path)).toLowerCase().includes(wanted)) members.push(member)
  }
  return { members, next: undefined }
}

export interface Difference {
  readonly path: BytePath
  /** `metadata`: the content is the same, something else is not. */
  readonly kind: 'added' | 'removed' | 'content' | 'metadata'
  readonly before: Member | undefined
  readonly after: Member | undefined
}

/** What it takes to come from one tree to the other, in the order of paths; reads indexes only. */
export async function* diff(
  before: Pick<Chain, 'members'>,
  after: Pick<Chain, 'members'>,
  signal: AbortSignal,
  from: BytePath = '',
): AsyncGenerator<Difference> {
  const olds = before.members(from, signal)
  const news = after.members(from, signal)
  try {
    let old = (await olds.next()).value?.member
    let now = (await news.next()).value?.member
    while (old !== undefined || now !== undefined) {
      const order = old === undefined ? 1 : now === undefined ? -1 : comparePaths(old.path, now.path)
      if (order < 0 && old !== undefined) yield { path: old.path, kind: 'removed', before: old, after: undefined }
      else if (order > 0 && now !== undefined) yield { path: now.path, kind: 'added', before: undefined, after: now }
      else if (old !== undefined && now !== undefined) {
        const kind = differenceOf(old, now)
        if (kind !== undefined) yield { path: now.path, kind, before: old, after: now }
      }
      if (order <= 0) old = (await olds.next()).value?.member
      if (order >= 0) now = (await news.next()).value?.member
    }
  } finally {
    await olds.return(undefined)
    await news.return(undefined)
  }
}

function differenceOf(old: Member, now: Member): 'content' | 'metadata' | undefined {
  if (contentOf(old) !== contentOf(now) || !sameHash(old, now)) return 'content'
  const kept = ['mode', 'uid', 'gid', 'mtime', 'ctime'] as const
  return kept.every((key) => old[key] === now[key]) ? undefined : 'metadata'
}

/** What an entry is, apart from hashes: which of a file's names is the hard link is no difference. */
function contentOf({ type, size, link }: Member): string {
  return type === 'file' || type === 'hardlink' ? `file ${size}` : `${type} ${link ?? ''}`
}

/** A hard link's line carries no hash; then the time of the last writing tells. That of a patch is not of the file: then it must be as it was. */
function sameHash(old: Member, now: Member): boolean {
  if (old.type === 'file' && now.type === 'file')
    return old.hash === now.hash || ((old.patch ?? now.patch) !== undefined && isUntouched(old, now))
  return (old.type !== 'hardlink' && now.type !== 'hardlink') || old.mtime === now.mtime
}

function isUntouched(old: Member, now: Member): boolean {
  return old.inode === now.inode && old.ctime === now.ctime && isSettled(now.ctime)
}
