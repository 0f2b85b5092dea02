import type { ExportBatch } from '../../core/exports.ts'
import type { StatusView, StatusWord } from './schemas.ts'

type Underway = Exclude<ExportBatch['phase'], 'pending' | 'ended'>

/** What begins with a phase, and what is over once every element has passed it. Removals wait for no devices. */
const WORDS: Readonly<Record<ExportBatch['type'], Readonly<Record<Underway, readonly [StatusWord, StatusWord]>>>> = {
  create: {
    clone: ['start_creating_clones', 'done_creating_clones'],
    devices: ['start_waiting_udevd', 'done_waiting_udevd'],
    targets: ['start_creating_targets', 'done_creating_targets'],
  },
  delete: {
    targets: ['start_deleting_targets', 'done_deleting_targets'],
    devices: ['start_deleting_clones', 'done_deleting_clones'],
    clone: ['start_deleting_clones', 'done_deleting_clones'],
  },
}
const FIRST: Readonly<Record<ExportBatch['type'], Underway>> = { create: 'clone', delete: 'targets' }

/** Of the two parts of an element, its volume and its target. */
const PARTS = 2

/** One failed element is a failed job: scripts that wait for `complete` then use every disk they asked for. */
function hasSucceeded({ done, errors, requested }: ExportBatch): boolean {
  return errors.length === 0 && done.length >= requested
}

function statusOf(batch: ExportBatch): StatusWord {
  const { phase, type, startedAt, passed, requested } = batch
  if (phase === 'ended') return hasSucceeded(batch) ? 'complete' : 'failed'
  if (phase === 'pending') return startedAt === null ? 'pending' : 'start_job'
  const [start, done] = WORDS[type][phase]
  return passed >= requested ? done : start
}

/** Elements that ended have both parts behind them, others what the phases before this one did. */
function shareOver({ phase, type, passed, finished, requested }: ExportBatch): number {
  const ended = finished / requested
  if (phase === 'pending' || phase === 'ended') return Math.min(1, ended)
  const before = phase === FIRST[type] ? 0 : requested
  const inPhase = phase === 'devices' ? 0 : passed
  return Math.min(1, Math.max(ended, (before + inPhase) / (PARTS * requested)))
}

function reasonOf({ errors, requested, done, jobs }: ExportBatch): string {
  const [first] = errors
  const reason = first
    ? `clones[${first.n}]: ${first.message}`
    : (jobs.find(({ error }) => error !== null)?.error ?? 'it was stopped')
  const failed = Math.max(errors.length, requested - done.length)
  return requested === 1 ? reason : `${failed} of ${requested} failed; ${reason}`
}

// as: TypeScript does not know it yet; what `JSON.stringify` writes for its answer is that very text
const { rawJSON } = JSON as unknown as { rawJSON(text: string): number }

/** Whole numbers keep their `.0`: to those who tell integers from floats, as Python does, a time is always a float. */
function float(value: number): number {
  const rounded = Number(value.toFixed(6))
  return rawJSON(Number.isInteger(rounded) ? `${rounded}.0` : rounded.toFixed(6).replace(/0+$/, ''))
}

function secondsBetween(from: Date, to: Date | null): number {
  return to === null ? 0 : Math.max(0, to.getTime() - from.getTime()) / 1000
}

export function presentStatus(batch: ExportBatch): StatusView {
  const { done, errors, times, startedAt } = batch
  const status = statusOf(batch)
  const unexported = errors.filter((one) => one.unexported === true)
  const reused = done.filter((one) => one.reused).map(({ n }) => n)
  const diverged = done.filter((one) => one.diverged).map(({ n }) => n)
  return {
    status,
    job_type: batch.type,
    num_requested: batch.requested,
    num_completed: done.length,
    num_clones: done.filter(({ volume }) => volume).length,
    num_targets: done.length + unexported.length,
    percent_completed: float(shareOver(batch)),
    lag_time: float(secondsBetween(batch.createdAt, startedAt)),
    clone_time: float(times.cloneSeconds),
    udevd_time: float(times.deviceSeconds),
    target_time: float(times.targetSeconds),
    job_time: float(startedAt === null ? 0 : secondsBetween(startedAt, batch.endedAt)),
    ...(status === 'failed' ? { error: reasonOf(batch) } : {}),
    ...(errors.length === 0 ? {} : { errors: errors.map(({ n, code, message }) => ({ n, code, message })) }),
    ...(reused.length === 0 ? {} : { reused }),
    ...(diverged.length === 0 ? {} : { diverged }),
  }
}
