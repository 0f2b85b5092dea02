import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { type Caller, requireRole, visibleGroup } from '../../control-plane/core/caller.ts'
import { checkRequest } from '../../control-plane/core/check-request.ts'
import { type Condition, requireCondition } from '../../control-plane/core/condition.ts'
import type { Page, PageRequest } from '../../control-plane/core/page.ts'
import { firstDue } from '../../control-plane/core/recurrence.ts'
import { atSchema, recurrenceOf } from '../../control-plane/core/recurrence-schema.ts'
import type { CreateRestoreTask, RestoreTask, RestoreTasks } from '../../control-plane/core/restore-tasks.ts'
import type { ScheduleRun } from '../../control-plane/core/runs.ts'
import {
  type CreateSchedule,
  IDLE_CODES,
  type JobTask,
  type RetentionPreview,
  type Schedule,
  type Schedules,
} from '../../control-plane/core/schedules.ts'
import { FleetError } from '../../shared/errors.ts'
import type { FakePointControls } from './fake-points.ts'

/** What a test arranges and looks at. */
export interface FakeScheduleControls {
  readonly schedules: Map<string, Schedule>
  readonly restoreTasks: Map<string, RestoreTask>
  readonly runs: ScheduleRun[]
  preview: RetentionPreview
  readonly tasks: JobTask[]
  /** How often `tasksOf` was asked. */
  lookUps: number
  /** The next that `tasksOf` is asked fails so. */
  failLookUp: Error | undefined
  /** Steps of a run, between the two that a client makes. */
  setState(number: number, state: Partial<Schedule['state']>): void
  setRestoreState(number: number, state: Partial<RestoreTask['state']>): void
}

const NOW = new Date('2015-03-17T09:27:06Z')
const ZONE = 'Asia/Taipei'
const At = z.object({ at: atSchema('seconds') })

type Numbered = { readonly id: string; readonly number: number; readonly groupId: string; readonly version: number }

/** Things with numbers, kept by uuid. */
function createShelf<Thing extends Numbered>(things: Map<string, Thing>, what: string) {
  let last = 0
  function find(caller: Caller, id: string): Thing {
    const found = things.get(id) ?? [...things.values()].find(({ number }) => String(number) === id)
    const visible = visibleGroup(caller) === null || found?.groupId === caller.groupId
    if (!found || !visible) throw new FleetError('not_found', `there is no ${what} '${id}'`)
    return found
  }
  return {
    find,
    nextNumber: () => {
      last += 1
      return last
    },
    page(caller: Caller, { limit, cursor }: PageRequest): Page<Thing> {
      const own = [...things.values()].filter(({ groupId }) => groupId === caller.groupId)
      const from = Number(cursor ?? 0)
      return {
        items: own.slice(from, from + limit),
        nextCursor: from + limit < own.length ? String(from + limit) : null,
      }
    },
    /** @throws forbidden, not_found, stale */
    forChange(caller: Caller, id: string, ifMatch: Condition<Thing> | undefined): Thing {
      requireRole(caller, 'operator')
      const thing = find(caller, id)
      requireCondition(ifMatch, thing)
      return thing
    },
    keep(thing: Thing): Thing {
      const kept = { ...thing, version: thing.version + 1 }
      things.set(kept.id, kept)
      return kept
    },
  }
}

export function createFakeScheduleControls(): FakeScheduleControls {
  const schedules = new Map<string, Schedule>()
  const restoreTasks = new Map<string, RestoreTask>()
  return {
    schedules,
    restoreTasks,
    runs: [],
    preview: { delete: [], keep: [], trashed: [] },
    tasks: [],
    lookUps: 0,
    failLookUp: undefined,
    setState: (number, state) => setState(schedules, number, state),
    setRestoreState: (number, state) => setState(restoreTasks, number, state),
  }
}

function setState<Thing extends Numbered & { readonly state: object }>(
  things: Map<string, Thing>,
  number: number,
  state: Partial<Thing['state']>,
): void {
  for (const thing of things.values()) {
    if (thing.number !== number) continue
    things.set(thing.id, { ...thing, version: thing.version + 1, state: { ...thing.state, ...state } })
  }
}

function requireIdle({ state }: { readonly state: Schedule['state'] | RestoreTask['state'] }): void {
  if (!IDLE_CODES.includes(state.code)) throw new FleetError('conflict', `it is ${state.code}`)
}

function nextRunOf(at: Schedule['at'], disabled: boolean): Date | null {
  const timezone = at.timezone ?? ZONE
  return disabled ? null : new Date(firstDue(recurrenceOf(at, { startUnit: 'seconds', timezone }), NOW.getTime()))
}

function targetOf({ targets }: FakePointControls, id: string | null | undefined, field: string): Schedule['target'] {
  if (id === undefined || id === null) return null
  const target = targets.get(id) ?? [...targets.values()].find(({ number }) => String(number) === id)
  if (target) return { id: target.id, number: target.number, name: target.name }
  throw new FleetError('not_found', `there is no target '${id}'`, { field })
}

/** Schedules that never fire by themselves. */
export function createFakeSchedules(controls: FakeScheduleControls, points: FakePointControls): Schedules {
  const { schedules } = controls
  const shelf = createShelf(schedules, 'schedule')

  /** @throws invalid, exists, not_found */
  function keep(given: CreateSchedule | Schedule, before: Pick<Schedule, 'id' | 'number' | 'groupId' | 'version'>) {
    const { at } = checkRequest(At, { at: given.at })
    const target = typeof given.target === 'object' ? given.target : targetOf(points, given.target, 'target')
    const place = JSON.stringify([target?.id, given.path, given.name])
    const taken = [...schedules.values()].some(
      (other) => other.id !== before.id && place === JSON.stringify([other.target?.id, other.path, other.name]),
    )
    if (taken) throw new FleetError('exists', `there is a backup '${given.name}' there already`, { field: 'name' })
    const disabled = given.disabled ?? false
    const state = { code: 'init' as const, result: null, lastRun: null, progress: null }
    return shelf.keep({
      ...before,
      name: given.name,
      type: given.type,
      container: given.container,
      host: given.host ?? null,
      target,
      path: given.path,
      at,
      timezone: at.timezone ?? ZONE,
      disabled,
      retention: given.retention ?? 0,
      features: given.features ?? [],
      createdAt: NOW,
      state: { ...('state' in given ? given.state : state), nextRun: nextRunOf(at, disabled) },
    })
  }

  return {
    async create(caller, request) {
      requireRole(caller, 'operator')
      const before = { id: randomUUID(), groupId: caller.groupId, version: 0 }
      return keep(request, { ...before, number: shelf.nextNumber() })
    },
    get: async (caller, id) => shelf.find(caller, id),
    list: async (caller, page) => shelf.page(caller, page),
    async change(caller, id, request, ifMatch) {
      const schedule = shelf.forChange(caller, id, ifMatch)
      const { target, at, ...rest } = request
      const given = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined))
      return keep(
        {
          ...schedule,
          ...given,
          target: target === undefined ? schedule.target : targetOf(points, target, 'target'),
          // as: `keep` checks it, whatever it is
          at: (at === undefined ? schedule.at : at) as Schedule['at'],
        },
        schedule,
      )
    },
    async delete(caller, id, ifMatch) {
      const schedule = shelf.forChange(caller, id, ifMatch)
      requireIdle(schedule)
      schedules.delete(schedule.id)
      return schedule
    },
    async run(caller, id, ifMatch) {
      const schedule = shelf.forChange(caller, id, ifMatch)
      requireIdle(schedule)
      return shelf.keep({ ...schedule, state: { ...schedule.state, code: 'waiting', progress: -1 } })
    },
    async stop(caller, id, ifMatch) {
      const schedule = shelf.forChange(caller, id, ifMatch)
      if (IDLE_CODES.includes(schedule.state.code)) return schedule
      const state = { ...schedule.state, code: 'scheduled' as const, lastRun: NOW, result: -2 as const, progress: null }
      return shelf.keep({ ...schedule, state })
    },
    async runs(caller, id, { outcome, since, until }, { limit, cursor }) {
      const { id: scheduleId } = shelf.find(caller, id)
      const found = controls.runs.filter(
        (run) =>
          run.scheduleId === scheduleId &&
          (!outcome || run.outcome === outcome) &&
          (!since || run.dueAt >= since) &&
          (!until || run.dueAt <= until),
      )
      const from = Number(cursor ?? 0)
      const nextCursor = from + limit < found.length ? String(from + limit) : null
      return { items: found.slice(from, from + limit), nextCursor }
    },
    async retentionPreview(caller, id) {
      shelf.find(caller, id)
      return controls.preview
    },
    async undelete(caller, pointId) {
      requireRole(caller, 'operator')
      const point = points.points.get(pointId)
      if (!point) throw new FleetError('not_found', `there is no point '${pointId}'`)
      if (!controls.preview.trashed.some(({ id }) => id === pointId))
        throw new FleetError('conflict', 'it is not trashed')
      points.points.set(pointId, { ...point, pinned: true, isReturning: true, version: point.version + 1 })
    },
    async tasksOf(caller, jobIds) {
      controls.lookUps += 1
      const failure = controls.failLookUp
      controls.failLookUp = undefined
      if (failure) throw failure
      void caller
      return controls.tasks.filter(({ jobId }) => jobIds.includes(jobId))
    },
  }
}

/** Restore tasks that wait until a test says otherwise. */
export function createFakeRestoreTasks(controls: FakeScheduleControls, points: FakePointControls): RestoreTasks {
  const { restoreTasks } = controls
  const shelf = createShelf(restoreTasks, 'restore')
  const newTask = (caller: Caller, { source, ...request }: CreateRestoreTask): RestoreTask => ({
    id: randomUUID(),
    number: shelf.nextNumber(),
    groupId: caller.groupId,
    version: 0,
    name: request.name,
    type: request.type,
    container: request.container,
    host: request.host ?? null,
    start: request.start ?? false,
    source: { ...source, target: targetOf(points, source.target, 'source.target') },
    disabled: request.disabled ?? false,
    state: { code: 'init', result: null, lastRun: null, start: null, end: null, progress: null, reason: null },
    pointId: null,
    jobId: null,
    createdAt: NOW,
  })
  return {
    async create(caller, request) {
      requireRole(caller, 'operator')
      return shelf.keep(newTask(caller, request))
    },
    get: async (caller, id) => shelf.find(caller, id),
    list: async (caller, page) => shelf.page(caller, page),
    async stop(caller, id, ifMatch) {
      const task = shelf.forChange(caller, id, ifMatch)
      if (task.state.code === 'completed') return task
      const ended = { code: 'completed' as const, lastRun: NOW, start: NOW, end: NOW, result: -2 as const }
      return shelf.keep({ ...task, state: { ...task.state, ...ended, progress: null } })
    },
    async delete(caller, id, ifMatch) {
      const task = shelf.forChange(caller, id, ifMatch)
      requireIdle(task)
      restoreTasks.delete(task.id)
      return task
    },
  }
}
