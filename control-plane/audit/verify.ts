import { type ChainFault, ChainWalk, type HeadMarks } from '../core/audit-chain.ts'
import type { AuditChainStore } from '../db/stores/audit-chain-store.ts'

/** Rows in memory at a time. */
const PAGE = 2_000

export interface AuditVerdict {
  /** Links that hold. */
  readonly links: number
  readonly head: { readonly seq: number; readonly hash: string }
  /** Whether the head's mark was made with one of our keys; `unchecked` where none are at hand. */
  readonly mark: 'holds' | 'broken' | 'unchecked'
  /** The first place where the chain does not hold. */
  readonly fault: ChainFault | null
  /** Committed rows without a link yet, and how long the oldest has waited. */
  readonly unchained: { readonly rows: number; readonly seconds: number }
}

export interface VerifyDeps {
  readonly store: Pick<AuditChainStore, 'head' | 'page' | 'beyond' | 'tail'>
  readonly marks: Pick<HeadMarks, 'holds'> | undefined
}

/**
 * Walks the chain from its first link to its head and stops at the first that does not hold.
 * @param expected a link that was noted down elsewhere: finds a chain that was cut back to an earlier head, mark and all.
 */
export async function verifyAudit(
  { store, marks }: VerifyDeps,
  expected?: { readonly seq: number; readonly hash: string },
): Promise<AuditVerdict> {
  const head = await store.head()
  const walk = new ChainWalk()
  let fault: ChainFault | undefined
  let isLast = false
  while (fault === undefined && !isLast) {
    const before = walk.seq
    const rows = await store.page({ after: before, last: head.seq, limit: PAGE })
    fault = walk.take(rows)
    isLast = rows.length < PAGE
    if (expected && fault === undefined && before < expected.seq) fault = await compare(store, walk, expected)
  }
  fault ??= walk.end(head) ?? (await lookBeyond(store))
  if (fault === undefined && expected && expected.seq > head.seq) {
    fault = { kind: 'missing', seq: head.seq + 1, ordinal: null, message: 'the chain ends before the expected link' }
  }
  const mark = marks === undefined ? 'unchecked' : marks.holds(head) ? 'holds' : 'broken'
  if (mark === 'broken') {
    fault ??= { kind: 'unmarked', seq: head.seq, ordinal: null, message: 'the head was not marked with our key' }
  }
  const shown = { seq: head.seq, hash: head.hash.toString('hex') }
  return { links: walk.seq, head: shown, mark, fault: fault ?? null, unchained: await store.tail() }
}

async function lookBeyond(store: VerifyDeps['store']): Promise<ChainFault | undefined> {
  const row = await store.beyond()
  return row && { kind: 'head', ...row, message: 'rows are linked beyond the head: it was set back' }
}

async function compare(
  store: VerifyDeps['store'],
  walk: ChainWalk,
  expected: { readonly seq: number; readonly hash: string },
): Promise<ChainFault | undefined> {
  if (walk.seq < expected.seq) return undefined
  const [row] = await store.page({ after: expected.seq - 1, last: expected.seq, limit: 1 })
  if (row === undefined || row.hash.toString('hex') === expected.hash) return undefined
  const message = 'the link is not the expected one: the chain was written anew'
  return { kind: 'changed', seq: expected.seq, ordinal: row.ordinal, message }
}
