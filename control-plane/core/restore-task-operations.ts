import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { HostName } from '../../shared/ids.ts'
import { type Caller, requireRole } from './caller.ts'
import { checkKept } from './check-request.ts'
import { requireCondition } from './condition.ts'
import type { FleetView } from './fleet-view.ts'
import type { Page, PageRequest } from './page.ts'
import type { InstanceNames } from './point-instances.ts'
import { requireRootOnHost } from './point-to-instance.ts'
import type { RestoreTask, RestoreTaskCondition, RestoreTasks } from './restore-tasks.ts'
import { BackupName, checkContainer, seriesPath } from './schedule-requests.ts'
import { hostOfDestination } from './schedule-sources.ts'
import { IDLE_CODES, SOURCE_TYPES } from './schedules.ts'
import { type Targets, targetNamed } from './targets.ts'
import { changeVersion } from './version-change.ts'

/** How long one waits for its host. */
const WAIT_MS = 24 * 3_600_000
const PORTFOLIO_MAX = 255

const Request = z.object({
  name: BackupName,
  type: z.enum(SOURCE_TYPES),
  container: z.string(),
  host: HostName.optional(),
  source: z.object({
    target: z.string().optional(),
    path: z.string(),
    portfolio: z.string().min(1, 'must not be empty').max(PORTFOLIO_MAX),
  }),
  start: z.boolean().optional(),
  disabled: z.boolean().optional(),
})

export interface RestoreTaskValues {
  readonly name: string
  readonly type: RestoreTask['type']
  readonly container: string
  readonly host: string | null
  readonly start: boolean
  readonly targetId: string | null
  readonly path: string
  readonly directory: string
  readonly portfolio: string
  readonly disabled: boolean
  readonly expiresMs: number
}

/** What Postgres must answer for restore tasks. `undefined` for a change: it has another version by now. */
export interface RestoreTaskStore {
  find(groupId: string, id: string): Promise<RestoreTask | undefined>
  list(groupId: string, page: PageRequest): Promise<Page<RestoreTask>>
  /** @throws conflict: the target went in that moment. */
  create(caller: Caller, values: RestoreTaskValues): Promise<RestoreTask>
  /** @returns the job that is to be cancelled, null without one. */
  stop(caller: Caller, task: RestoreTask, atMs: number): Promise<{ readonly jobId: string | null } | undefined>
  delete(caller: Caller, task: RestoreTask): Promise<true | undefined>
}

export function createRestoreTasks(deps: {
  readonly store: RestoreTaskStore
  readonly targets: Pick<Targets, 'get'>
  readonly fleet: FleetView
  readonly instances: InstanceNames
  readonly now: () => Promise<number>
  readonly wake: () => void
  readonly cancel: (caller: Caller, jobId: string) => Promise<void>
}): RestoreTasks {
  const { store, targets, now } = deps

  async function find(caller: Caller, id: string): Promise<RestoreTask> {
    const task = await store.find(caller.groupId, id)
    if (task === undefined) throw new FleetError('not_found', `there is no restore '${id}'`)
    return task
  }

  function decideOn<Result>(
    caller: Caller,
    id: string,
    ifMatch: RestoreTaskCondition | undefined,
    write: (task: RestoreTask) => Promise<Result | undefined>,
  ): Promise<Result> {
    requireRole(caller, 'operator')
    return changeVersion(async () => {
      const task = await find(caller, id)
      requireCondition(ifMatch, task)
      return task
    }, write)
  }

  return {
    async create(caller, request) {
      requireRole(caller, 'operator')
      const { source, ...asked } = checkKept(Request, request)
      requireRootOnHost(caller, asked.type, 'type')
      const container = checkContainer(asked.type, asked.container)
      const host = await hostOfDestination(deps, caller, { type: asked.type, container, host: asked.host ?? null })
      const named = source.target === undefined ? undefined : { id: source.target, field: 'source.target' }
      const target = named && (await targetNamed(targets, caller, named))
      const task = await store.create(caller, {
        ...{
          name: asked.name,
          type: asked.type,
          container,
          host,
          start: asked.start ?? false,
          disabled: asked.disabled ?? false,
        },
        ...{ targetId: target?.id ?? null, path: source.path, portfolio: source.portfolio },
        directory: seriesPath(source.path),
        expiresMs: (await now()) + WAIT_MS,
      })
      deps.wake()
      return task
    },

    get: find,

    list: (caller, page) => store.list(caller.groupId, page),

    async stop(caller, id, ifMatch) {
      const stopped = await decideOn(caller, id, ifMatch, async (task) => {
        if (task.state.code === 'completed') return { jobId: null }
        return store.stop(caller, task, await now())
      })
      if (stopped.jobId !== null) await deps.cancel(caller, stopped.jobId)
      deps.wake()
      return find(caller, id)
    },

    delete: (caller, id, ifMatch) =>
      decideOn(caller, id, ifMatch, async (task) => {
        if (!IDLE_CODES.includes(task.state.code)) {
          throw new FleetError('conflict', `the restore is ${task.state.code}: stop it first`)
        }
        return (await store.delete(caller, task)) && task
      }),
  }
}
