import { duesBetween, nextDue, type Recurrence } from './recurrence.ts'

/** However far the next instant is: so long a run waits for its host or a slot. */
export const MAX_WAIT_MS = 24 * 3_600_000
/** In one go; who has more of them behind goes on with the next tick. */
const MAX_INSTANTS = 1_000

/** A schedule some of whose instants have come. */
export interface DueQuestion {
  readonly recurrence: Recurrence
  readonly ledgerMs: number
  readonly jitterMs: number
  readonly nowMs: number
  /** The run that is under way. */
  readonly active: ActiveRun | undefined
}

export interface ActiveRun {
  readonly id: string
  readonly isWaiting: boolean
  readonly expiresMs: number
  readonly reason: string | null
}

/** What the ledger is told of one instant. */
export type DueRow = { readonly dueMs: number; readonly expiresMs: number } & (
  | { readonly state: 'waiting' }
  | { readonly state: 'ended'; readonly outcome: 'missed' | 'skipped'; readonly reason: string }
)

export interface DueDecision {
  readonly rows: readonly DueRow[]
  /** The run under way ends as missed. */
  readonly expire: { readonly id: string; readonly reason: string } | undefined
  readonly ledgerMs: number
  readonly nextDueMs: number | null
}

const NOBODY = 'no control plane was there at that instant to fire it'

/** The newest instant fires, older ones were missed; a run that is still under way is not disturbed. */
export function decideDue({ recurrence, ledgerMs, jitterMs, nowMs, active }: DueQuestion): DueDecision {
  const dues = duesBetween(recurrence, ledgerMs, nowMs - jitterMs, MAX_INSTANTS)
  const lastMs = dues.at(-1) ?? ledgerMs
  const nextDueMs = nextDue(recurrence, lastMs) ?? null
  const isComplete = dues.length < MAX_INSTANTS
  const isOver = active?.isWaiting === true && active.expiresMs <= nowMs
  const rows = dues.map((dueMs): DueRow => {
    const expiresMs = expiresOf({ dueMs, nextDueMs, jitterMs, nowMs })
    const row = { dueMs, expiresMs, state: 'ended' } as const
    if (dueMs !== lastMs || !isComplete) return { ...row, outcome: 'missed', reason: NOBODY }
    if (active === undefined || isOver) return { ...row, state: 'waiting' }
    const reason = active.isWaiting ? `the run before still waited: ${active.reason ?? 'for a slot'}` : BUSY
    return { ...row, outcome: 'skipped', reason }
  })
  const expire = isOver && rows.length > 0 ? { id: active.id, reason: missedBecause(active.reason) } : undefined
  return { rows, expire, ledgerMs: lastMs, nextDueMs }
}

const BUSY = 'the run before was still under way'

/** Why a run that waited was given up. */
export function missedBecause(waitedFor: string | null): string {
  return waitedFor === null
    ? 'no control plane was there to fire it before it was too late'
    : `${waitedFor}, until it was too late`
}

function expiresOf(of: {
  readonly dueMs: number
  readonly nextDueMs: number | null
  readonly jitterMs: number
  readonly nowMs: number
}): number {
  const latest = Math.max(of.dueMs, of.nowMs) + MAX_WAIT_MS
  return of.nextDueMs === null ? latest : Math.min(latest, of.nextDueMs + of.jitterMs)
}
