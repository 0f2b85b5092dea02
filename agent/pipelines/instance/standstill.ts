import { FleetError } from '../../../shared/errors.ts'
import type { Held, Hold, InstancePlace, InstanceState } from '../../../shared/instance-spec.ts'
import type { Instance, Instances } from '../../instances/instances.ts'
import type { HoldTurns } from './hold-turns.ts'
import { STOP_GRACE_MS, type StoppedNotes } from './stopped-notes.ts'

/** Beyond what any stop is given. */
const STOP_TIMEOUT_MS = STOP_GRACE_MS + 60_000
const LOOK_TIMEOUT_MS = 30_000

/** An instance that is not to change. */
export interface Standstill extends AsyncDisposable {
  /** Lets it go on as it was before. May be called again; disposing does it too. */
  end(): Promise<StandstillEnd>
}

export interface StandstillEnd {
  /** Nothing of it ran in between, whoever saw to that. */
  readonly intact: boolean
  /** As FreezeEnd says. */
  readonly isFlushed: boolean
  /** Of what we held ourselves. */
  readonly held: Held | undefined
}

export interface StandstillRequest {
  readonly instances: Instances
  readonly stopped: StoppedNotes
  readonly turns: HoldTurns
  readonly jobId: string
  readonly id: string
  readonly hold: Hold
  /** Of a freeze: its watchdog thaws then. */
  readonly maxMs: number
  readonly signal: AbortSignal
}

/**
 * Holds an instance as the order says, when it is its turn. One that stands still by itself, as it is stopped or as somebody else froze it, is
 * left so, and is looked at again in the end. @throws conflict when it is on its way from one state to another; what freeze and stop throw
 */
export async function standStill(request: StandstillRequest): Promise<Standstill> {
  const { instances, id, hold, maxMs, signal } = request
  if (hold === 'none') {
    await existing(instances, id, signal)
    return once(async () => ({ intact: false, isFlushed: false, held: undefined }))
  }
  const leave = await request.turns.take(`${instances.type} ${id}`, { waitMs: maxMs, signal })
  try {
    const standstill = await inTurn(request)
    return once(async () => {
      try {
        return await standstill.end()
      } finally {
        leave()
      }
    })
  } catch (thrown) {
    leave()
    throw thrown
  }
}

async function inTurn(request: StandstillRequest): Promise<Standstill> {
  const { instances, id, hold, signal } = request
  const { state, type, pid } = await existing(instances, id, signal)
  if (state === 'STOPPED' || state === 'FROZEN' || state === 'SAVED') return standing(instances, id, state)
  if (state !== 'RUNNING') throw new FleetError('conflict', 'the instance is on its way from one state to another')
  return hold === 'pause' ? frozen(request) : stopped(request, { type, instance: id }, pid)
}

async function frozen({ instances, id, maxMs, signal }: StandstillRequest): Promise<Standstill> {
  const freeze = await instances.freeze({ id, maxMs, signal })
  if (!freeze.held) return standing(instances, id, 'FROZEN')
  return once(async () => {
    const { intact, isFlushed, heldMs } = await freeze.thaw()
    return { intact, isFlushed, held: { kind: 'pause', ms: heldMs, intact } }
  })
}

async function stopped(request: StandstillRequest, place: InstancePlace, pid: number | undefined): Promise<Standstill> {
  const { instances, id, jobId, signal } = request
  request.stopped.note(jobId, place, pid)
  const startedAt = performance.now()
  try {
    // Half of it would go on by itself: one that was asked to stop is stopped, and then started again.
    await instances.stop(id, { graceMs: STOP_GRACE_MS, signal: AbortSignal.timeout(STOP_TIMEOUT_MS) })
    if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
  } catch (thrown) {
    await request.stopped.startAgain(jobId).catch(() => undefined) // the note stays; why it would not stop matters more
    throw thrown
  }
  return once(async () => {
    const intact = (await stateOf(instances, id)) === 'STOPPED'
    await request.stopped.startAgain(jobId)
    return { intact, isFlushed: true, held: { kind: 'stop', ms: performance.now() - startedAt, intact } }
  })
}

function standing(instances: Instances, id: string, state: InstanceState): Standstill {
  const isFlushed = state === 'STOPPED' || instances.type !== 'libvirt'
  return once(async () => ({ intact: (await stateOf(instances, id)) === state, isFlushed, held: undefined }))
}

async function stateOf(instances: Instances, id: string): Promise<InstanceState | undefined> {
  return (await instances.find(id, AbortSignal.timeout(LOOK_TIMEOUT_MS)))?.state
}

/** @throws not_found */
export async function existing(instances: Instances, id: string, signal: AbortSignal): Promise<Instance> {
  const found = await instances.find(id, signal)
  if (found === undefined) throw new FleetError('not_found', 'no such instance on this host')
  return found
}

/** One that could not be let go is tried again. */
function once(end: () => Promise<StandstillEnd>): Standstill {
  let ended: Promise<StandstillEnd> | undefined
  const endOnce = () => {
    ended ??= end().catch((thrown: unknown) => {
      ended = undefined
      throw thrown
    })
    return ended
  }
  return { end: endOnce, [Symbol.asyncDispose]: async () => void (await endOnce()) }
}
