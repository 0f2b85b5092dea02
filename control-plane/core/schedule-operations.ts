import { isDeepStrictEqual } from 'node:util'
import { FleetError } from '../../shared/errors.ts'
import { type Caller, requireRole } from './caller.ts'
import { requireCondition } from './condition.ts'
import type { FleetView } from './fleet-view.ts'
import type { InstanceNames } from './point-instances.ts'
import { firstDue, jitterMs, nextDue, type Recurrence } from './recurrence.ts'
import { isTimezone } from './recurrence-schema.ts'
import { type Calendar, type CheckedSchedule, checkSchedule, type WantedSchedule } from './schedule-requests.ts'
import { previewOf } from './schedule-retention.ts'
import { hostOfSource } from './schedule-sources.ts'
import type { KeptSchedule, LedgerStart, ScheduleStore, ScheduleValues } from './schedule-store.ts'
import type { ChangeSchedule, CreateSchedule, Schedule, ScheduleCondition, Schedules } from './schedules.ts'
import { IDLE_CODES } from './schedules.ts'
import { type Targets, targetNamed } from './targets.ts'
import { changeVersion } from './version-change.ts'

/** How long a run that somebody asked for waits for its host or a slot. */
const MANUAL_WAIT_MS = 24 * 3_600_000
const MAX_JOBS_ASKED = 1_000

export interface ScheduleDeps {
  readonly store: ScheduleStore
  readonly targets: Pick<Targets, 'get'>
  readonly fleet: FleetView
  readonly instances: InstanceNames
  readonly calendar: Calendar
  /** Over how long schedules of one instant are spread. */
  readonly spreadMs: number
  /** The time that every replica goes by, epoch ms. */
  readonly now: () => Promise<number>
  /** Writes the rows of the instants that are due by now. */
  readonly catchUp: () => Promise<void>
  /** Something may be ready to fire or to end. */
  readonly wake: () => void
  /** Asks a job to stop; nothing happens when it has ended. */
  readonly cancel: (caller: Caller, jobId: string) => Promise<void>
}

export function createSchedules(deps: ScheduleDeps): Schedules {
  const { store, targets, calendar, now } = deps

  async function find(caller: Caller, id: string): Promise<KeptSchedule> {
    const schedule = await store.find(caller.groupId, id)
    if (schedule === undefined) throw new FleetError('not_found', `there is no backup '${id}'`)
    return schedule
  }

  async function targetOf(caller: Caller, id: string | null): Promise<string | null> {
    return id === null ? null : (await targetNamed(targets, caller, { id, field: 'target' })).id
  }

  async function shown(schedule: KeptSchedule): Promise<Schedule> {
    return shownAt(schedule, schedule.disabled ? await now() : 0)
  }

  /** Reads, compares and decides anew until nothing came between. */
  function decideOn<Result>(
    caller: Caller,
    id: string,
    ifMatch: ScheduleCondition | undefined,
    write: (schedule: KeptSchedule) => Promise<Result | undefined>,
  ): Promise<Result> {
    requireRole(caller, 'operator')
    return changeVersion(async () => {
      const schedule = await find(caller, id)
      requireCondition(ifMatch, await shown(schedule))
      return schedule
    }, write)
  }

  return {
    async create(caller, request) {
      requireRole(caller, 'operator')
      const checked = checkSchedule(wantedOf(request), calendar)
      const host = await hostOfSource(deps, caller, checked)
      const targetId = await targetOf(caller, checked.target)
      const jitter = jitterMs(`${caller.groupId}/${checked.name}`, deps.spreadMs)
      const ledger = ledgerFrom(checked, await now(), jitter)
      const schedule = await store.create(caller, valuesOf(checked, { host, targetId, ledger, code: 'init' }))
      // Nobody has touched it yet, whatever a tick does in this moment.
      deps.wake()
      return shown(schedule)
    },

    get: async (caller, id) => shown(await find(caller, id)),

    async list(caller, page) {
      const found = await store.list(caller.groupId, page)
      const nowMs = await now()
      return { ...found, items: found.items.map((schedule) => shownAt(schedule, nowMs)) }
    },

    async change(caller, id, request, ifMatch) {
      const changed = await decideOn(caller, id, ifMatch, async (schedule) => {
        const nowMs = await now()
        // What is due by its old calendar is written by it.
        const { nextRun } = schedule.state
        if (nextRun !== null && !schedule.disabled && nextRun.getTime() + schedule.jitterMs <= nowMs) {
          await deps.catchUp()
          return undefined
        }
        const merged = mergedOver(schedule, request)
        const checked = checkSchedule(
          wantedOf(merged),
          isTimedAs(schedule, merged.at) ? calendarOf(schedule) : calendar,
        )
        const fields = Object.keys(request).filter((field) => request[field as keyof ChangeSchedule] !== undefined)
        requireStill(schedule, checked, fields)
        const isMoved = fields.some((field) => ['type', 'container', 'host'].includes(field))
        const host = isMoved ? await hostOfSource(deps, caller, checked) : schedule.host
        const targetId = request.target === undefined ? schedule.targetId : await targetOf(caller, checked.target)
        const isEnabled = schedule.disabled && !checked.disabled
        const isResting = !schedule.disabled && checked.disabled
        const isOther = !isDeepStrictEqual(checked.recurrence, schedule.recurrence)
        const ledger = isEnabled || isResting || isOther ? ledgerFrom(checked, nowMs, schedule.jitterMs) : undefined
        const { code } = schedule.state
        const wakesUp = code === 'completed' && !checked.disabled && (isEnabled || isOther)
        return store.change(
          caller,
          schedule,
          valuesOf(checked, { host, targetId, ledger, code: wakesUp ? 'scheduled' : code }),
          fields,
        )
      })
      deps.wake()
      return shown(changed)
    },

    async delete(caller, id, ifMatch) {
      return decideOn(caller, id, ifMatch, async (schedule) => {
        requireIdle(schedule, 'stop it first')
        return (await store.delete(caller, schedule)) && shown(schedule)
      })
    },

    async run(caller, id, ifMatch) {
      await decideOn(caller, id, ifMatch, async (schedule) => {
        requireIdle(schedule, 'it is under way already')
        const atMs = await now()
        return store.startRun(caller, schedule, { atMs, expiresMs: atMs + MANUAL_WAIT_MS })
      })
      const schedule = await find(caller, id)
      deps.wake()
      return shown(schedule)
    },

    async stop(caller, id, ifMatch) {
      const stopped = await decideOn(caller, id, ifMatch, async (schedule) => {
        if (IDLE_CODES.includes(schedule.state.code)) return { jobId: null }
        return store.stopRun(caller, schedule, await now())
      })
      if (stopped.jobId !== null) await deps.cancel(caller, stopped.jobId)
      deps.wake()
      return shown(await find(caller, id))
    },

    async runs(caller, id, filter, page) {
      const { id: scheduleId } = await find(caller, id)
      return store.runs(scheduleId, filter, page)
    },

    async retentionPreview(caller, id) {
      const schedule = await find(caller, id)
      return previewOf(schedule, await store.seriesPoints(schedule), await now())
    },

    async undelete(caller, pointId) {
      requireRole(caller, 'operator')
      await store.undelete(caller, pointId, await now())
    },

    tasksOf: (caller, jobIds) => store.tasksOf(caller.groupId, jobIds.slice(0, MAX_JOBS_ASKED)),
  }
}

function wantedOf(request: CreateSchedule | Required<Record<keyof WantedSchedule, unknown>>) {
  const { host, target, disabled, retention, features, ...rest } = request
  return {
    ...rest,
    host: host ?? null,
    target: target ?? null,
    disabled: disabled ?? false,
    retention: retention ?? 0,
    features: features ?? [],
  }
}

function mergedOver(schedule: KeptSchedule, request: ChangeSchedule): Record<keyof WantedSchedule, unknown> {
  const { name, type, container, host, targetId, path, at, disabled, retention, features } = schedule
  const given = Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined))
  return { name, type, container, host, target: targetId, path, at, disabled, retention, features, ...given }
}

/** Members of `at` that say when it is due. */
const TIMES = ['repeat', 'start', 'days', 'timezone'] as const

function isTimedAs({ at }: KeptSchedule, wanted: unknown): boolean {
  if (typeof wanted !== 'object' || wanted === null) return false
  const [before, after]: readonly Readonly<Record<string, unknown>>[] = [at, { ...wanted }]
  return TIMES.every((name) => isDeepStrictEqual(before?.[name], after?.[name]))
}

/** What its times meant when they were written, whatever the server has been told since. */
function calendarOf({ at, recurrence, timezone }: KeptSchedule): Calendar {
  const isMinutes = recurrence.repeat !== 'oneshot' && recurrence.startSeconds !== at.start
  return { startUnit: isMinutes ? 'minutes' : 'seconds', timezone }
}

interface Placement {
  readonly host: string | null
  readonly targetId: string | null
  readonly ledger: LedgerStart | undefined
  readonly code: ScheduleValues['code']
}

function valuesOf(checked: CheckedSchedule, placement: Placement): ScheduleValues {
  const { target: _, ...values } = checked
  return { ...values, ...placement }
}

/** A oneshot of the past is due at its own instant still. */
function ledgerFrom({ recurrence, disabled }: Checked, nowMs: number, jitter: number): LedgerStart {
  const nextDueMs = disabled ? null : firstDue(recurrence, nowMs)
  const ledgerMs = recurrence.repeat === 'oneshot' ? Math.min(nowMs, recurrence.instantMs - 1) : nowMs
  return { ledgerMs, nextDueMs, jitterMs: jitter }
}

type Checked = { readonly recurrence: Recurrence; readonly disabled: boolean }

/** Where the points of a run lie is decided when it fires. @throws conflict. */
function requireStill(schedule: KeptSchedule, checked: CheckedSchedule, fields: readonly string[]): void {
  const moves = fields.filter(
    (field) =>
      (field === 'target' && checked.target !== schedule.targetId) ||
      (['name', 'path', 'type', 'container', 'host'] as const).some(
        (member) => member === field && checked[member] !== schedule[member],
      ),
  )
  if (moves.length > 0) requireIdle(schedule, `${moves.join(', ')} cannot change meanwhile`)
}

/** @throws conflict. */
function requireIdle({ state }: Schedule, what: string): void {
  if (IDLE_CODES.includes(state.code)) return
  throw new FleetError('conflict', `the backup is ${state.code}: ${what}`)
}

/** A disabled schedule shows the instant that it lets pass, where its zone is known here. */
function shownAt(schedule: KeptSchedule, nowMs: number): Schedule {
  const { targetId: _t, directory: _d, recurrence, jitterMs: _j, ...info } = schedule
  if (!schedule.disabled || recurrence.repeat === 'oneshot' || !isTimezone(recurrence.timezone)) return info
  const nextMs = nextDue(recurrence, nowMs)
  return { ...info, state: { ...info.state, nextRun: nextMs === undefined ? null : new Date(nextMs) } }
}
