import { z } from 'zod'
import { HostName } from '../../../shared/ids.ts'
import { InstanceType } from '../../../shared/instance-spec.ts'
import { type InstanceMove, MOVE_PHASES } from '../../core/instance-moves.ts'
import { route } from '../../http/route.ts'
import { InstanceId } from './instance-schemas.ts'
import { time } from './present.ts'
import { PageQuery, pageOf, Timestamp } from './schemas.ts'

const MigrateBody = z.object({
  host: HostName.meta({ description: 'Where it goes' }),
  pool: HostName.optional().meta({ description: 'Of that host; the one with most free bytes unless said' }),
  target: z.string().min(1).meta({ description: "A target's id, which both hosts reach; `local` is refused" }),
  start: z.boolean().optional().meta({ description: 'Whether it is started there; unless said, if it ran' }),
})

const MigrationQuery = PageQuery.extend({
  instance: z.uuid().optional(),
  open: z.enum(['true', 'false']).optional().meta({ description: 'Those alone that have not ended' }),
})

export const MigrationView = z.object({
  id: z.uuid(),
  number: z.number().int(),
  group_id: z.uuid(),
  state: z
    .enum(['running', 'stopping', 'moved', 'failed', 'cancelled'])
    .meta({ description: '`stopping`: it is taken back. In the last three it is over' }),
  phase: z.enum(MOVE_PHASES).meta({
    description:
      'The original is down from `stop` on. `restart` and `discard` take back what went wrong; `tidy` deletes the points',
  }),
  instance: z.object({ id: z.uuid(), type: InstanceType, name: z.string(), host: z.string() }),
  to: z.object({
    host: z.string(),
    pool: z.string().nullable(),
    instance_id: z.uuid().nullable().meta({ description: 'Null until it stands there' }),
  }),
  target: z.object({ id: z.uuid(), name: z.string() }).nullable(),
  progress: z
    .number()
    .int()
    .nullable()
    .meta({ description: "Of the phase's job: −1 (not known) to 99; null without one" }),
  job_id: z.uuid().nullable(),
  downtime_ms: z
    .number()
    .int()
    .nullable()
    .meta({ description: 'From the order to stop it until it ran again; null until then, and where it did not run' }),
  reason: z
    .string()
    .nullable()
    .meta({ description: 'Why it failed, what it waits for, or what is left to do by hand' }),
  created_at: Timestamp,
  ended_at: Timestamp.nullable(),
})
type MigrationView = z.infer<typeof MigrationView>

function stateOf({ endedAt, outcome, isStopping }: InstanceMove): MigrationView['state'] {
  if (endedAt !== null && outcome !== null) return outcome
  return isStopping || outcome === 'failed' || outcome === 'cancelled' ? 'stopping' : 'running'
}

function present(move: InstanceMove): MigrationView {
  const { id, number, phase, instance, to, target, progress, reason } = move
  return {
    ...{ id, number, group_id: move.groupId, state: stateOf(move), phase, instance },
    to: { host: to.host, pool: to.pool, instance_id: to.instanceId },
    ...{ target, progress, job_id: move.jobId, downtime_ms: move.downtimeMs, reason },
    created_at: move.createdAt.toISOString(),
    ended_at: time(move.endedAt),
  }
}

const etagOf = ({ id, version }: Pick<InstanceMove, 'id' | 'version'>) => `"${id}.${version}"`

export const migrateInstance = route({
  operation: 'migrateInstance',
  method: 'POST',
  path: '/api/v1/instances/:id/migrate',
  summary: 'Move a container to another host',
  description:
    'It runs on while it is copied over the target and made a dataset there; then it is stopped, what has changed since is brought over, and it starts there. Until then a failure or a stop leaves it as it was. The original stays behind, stopped: whether it starts with its host is to be seen to by hand.',
  access: 'operator',
  status: 202,
  params: InstanceId,
  body: MigrateBody,
  result: MigrationView,
  errors: [404, 409, 503],

  async handle({ params, body, caller }, core) {
    const move = await core.migrations.create(caller, params.id, body)
    return { status: 202, body: present(move) }
  },
})

export const listMigrations = route({
  operation: 'listMigrations',
  method: 'GET',
  path: '/api/v1/migrations',
  summary: 'Migrations of containers, newest first',
  access: 'viewer',
  status: 200,
  query: MigrationQuery,
  result: pageOf(MigrationView),

  async handle({ query, caller }, core) {
    const { limit, cursor, instance, open } = query
    const filter = { instance, open: open === 'true' }
    const { items, nextCursor } = await core.migrations.list(caller, filter, { limit, cursor })
    return { status: 200, body: { items: items.map(present), next_cursor: nextCursor } }
  },
})

export const getMigration = route({
  operation: 'getMigration',
  method: 'GET',
  path: '/api/v1/migrations/:id',
  summary: 'One migration',
  access: 'viewer',
  status: 200,
  params: InstanceId,
  result: MigrationView,
  errors: [404],

  async handle({ params, caller }, core) {
    const move = await core.migrations.get(caller, params.id)
    return { status: 200, body: present(move), etag: etagOf(move) }
  },
})

export const stopMigration = route({
  operation: 'stopMigration',
  method: 'POST',
  path: '/api/v1/migrations/:id/stop',
  summary: 'Take a migration back',
  description:
    'The original runs again, and what was made for it goes. One that has ended stays as it is; one that is being started on its new host is 409.',
  access: 'operator',
  status: 202,
  params: InstanceId,
  result: MigrationView,
  errors: [404, 409, 412],
  precondition: 'own',

  async handle({ params, caller, ifMatch }, core) {
    const expected = ifMatch && ((current: InstanceMove) => ifMatch(etagOf(current)))
    const move = await core.migrations.stop(caller, params.id, expected)
    return { status: 202, body: present(move), etag: etagOf(move) }
  },
})
