import type { JobFailure } from '../../shared/job-event.ts'
import type { JobState } from '../../shared/job-machine.ts'
import type { MoveOutcome, MovePhase } from './instance-moves.ts'
import { MAX_ATTEMPTS } from './job-change.ts'

/** A move as its next step is decided on. */
export interface MoveStanding {
  readonly phase: MovePhase
  readonly outcome: MoveOutcome | null
  /** Somebody asked it to stop. */
  readonly isStopped: boolean
  readonly isUnsure: boolean
  /** Null until `stop`. */
  readonly wasRunning: boolean | null
  /** How often its new host has said that something of it is there already. */
  readonly denials: number
}

/** By then a host has told of what it has: some five seconds lie between them. */
const ENOUGH_DENIALS = 8

export interface MadePoint {
  readonly problemCount: number
  /** Files were written to or went while they were read, and nothing else was wrong. */
  readonly isMoving: boolean
  readonly isFuzzy: boolean
  readonly wasHeld: boolean
}

/** How the job of a step ended. */
export interface StepEnd {
  readonly state: JobState | null
  readonly error: JobFailure | null
  readonly attempt: number
  /** Of a point that was made. */
  readonly made: MadePoint | undefined
}

/** What is known of the host that it goes to. */
export interface Destination {
  readonly isKnown: boolean
  /** An instance of its name and type stands there. */
  readonly isThere: boolean
}

/** Where a move goes from here. Absent members stay as they are. */
export interface Turn {
  readonly phase: MovePhase
  readonly outcome?: MoveOutcome
  readonly reason?: string
  readonly unsure?: true
}

/** Those in which it may be taken back. */
const FORWARD: ReadonlySet<MovePhase> = new Set(['copy', 'precopy', 'stop', 'final', 'switch'])

export function isForward(phase: MovePhase): boolean {
  return FORWARD.has(phase)
}

/** Before its next order is placed: what to do instead, when somebody has stopped it. */
export function turnOfStopped(move: MoveStanding): Turn | undefined {
  if (!move.isStopped || !isForward(move.phase) || move.isUnsure) return undefined
  return undo(move, { outcome: 'cancelled', reason: 'somebody stopped it' })
}

/** Everything that was done is taken back, beginning with what matters most. */
export function undo(move: MoveStanding, why: { readonly outcome: MoveOutcome; readonly reason: string }): Turn {
  const wasStopped = move.phase === 'stop' || move.phase === 'final' || move.phase === 'switch'
  return { phase: wasStopped && move.wasRunning === true ? 'restart' : 'discard', ...why }
}

/** The next phase when a step's job has succeeded. */
const NEXT = { copy: 'precopy', precopy: 'stop', stop: 'final', final: 'switch' } as const

/** What the end of a step's job means. Undefined: that step is to be tried again. */
export function turnOf(move: MoveStanding, end: StepEnd, there: Destination): Turn | undefined {
  const { phase } = move
  if (phase === 'switch') return turnOfSwitch(move, end, there)
  if (phase === 'restart') return end.state === 'succeeded' ? { phase: 'discard' } : undefined
  if (!(phase in NEXT)) return undefined
  if (end.state === 'succeeded') {
    const flaw = flawOf(move, end)
    if (flaw !== undefined) return undo(move, { outcome: 'failed', reason: flaw })
    // as: `in` was asked
    return turnOfStopped(move) ?? { phase: NEXT[phase as keyof typeof NEXT] }
  }
  return undo(move, failureOf(move, end))
}

/** Why a point that was made must not become the instance. */
function flawOf({ phase }: MoveStanding, { made }: StepEnd): string | undefined {
  if (made === undefined) return undefined
  // What runs writes: the last increment looks at all of such a point again.
  const isBearable = phase === 'copy' && made.isMoving
  if (made.problemCount > 0 && !isBearable) return `${made.problemCount} of its files could not be read`
  if (phase === 'final' && (made.wasHeld || made.isFuzzy)) return 'somebody started it while it was being migrated'
  return undefined
}

/**
 * Only an end that its host told is one: had that fallen silent for good, it might run there. Then the order is placed again, which its
 * agent comes to when it is done with the first.
 */
function turnOfSwitch(move: MoveStanding, end: StepEnd, there: Destination): Turn | undefined {
  if (end.state === 'succeeded' || (move.isUnsure && there.isThere)) return { phase: 'tidy', outcome: 'moved' }
  if (!there.isKnown) {
    const reason =
      'the host that it goes to was removed before it told whether it runs there: the original stays stopped'
    return { phase: 'tidy', outcome: 'failed', reason }
  }
  if (end.state === null || (end.error?.code === 'unavailable' && end.attempt >= MAX_ATTEMPTS))
    return { phase: 'switch', unsure: true }
  // The first order may have made it, which its host has yet to list; or it was taken back, and its dataset is of no use any more.
  const isDenied = end.error?.code === 'exists' || end.error?.code === 'conflict'
  if (move.isUnsure && isDenied && move.denials < ENOUGH_DENIALS) return undefined
  const back = undo(move, failureOf(move, end))
  // Who was cancelled does not say whether all was taken back.
  return move.isUnsure || end.error?.left === true || end.state === 'cancelled' ? { ...back, unsure: true } : back
}

function failureOf({ isStopped }: MoveStanding, { state, error }: StepEnd) {
  if (state !== 'cancelled') return { outcome: 'failed', reason: error?.message ?? 'its job failed' } as const
  return { outcome: 'cancelled', reason: isStopped ? 'somebody stopped it' : 'its job was cancelled' } as const
}
