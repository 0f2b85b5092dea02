import { join } from 'node:path'
import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { InstanceType } from '../../../shared/instance-spec.ts'
import { JobFailure } from '../../../shared/job-event.ts'
import { PointMade } from '../../../shared/point-spec.ts'
import { actorOn } from '../../core/audit.ts'
import { instanceTag } from '../../core/point-instances.ts'
import type { KeptPoint, PointReader } from '../../core/point-orders.ts'
import { type Sql, statement } from '../sql.ts'
import { writeAudit } from './audit-write.ts'
import { hostOfDataset } from './dataset-host.ts'

const bigint = z.coerce.number()

const PointRow = z.object({
  id: z.string(),
  ordinal: bigint,
  group_id: z.string(),
  source: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('dataset'), id: z.string(), name: z.string() }),
    z.object({ kind: z.literal('path'), path: z.string() }),
    z.object({ kind: z.literal('instance'), id: z.string(), type: InstanceType, name: z.string() }),
    z.object({ kind: z.literal('volume'), id: z.string(), name: z.string(), snapshot: z.string().nullable() }),
  ]),
  host: z.string(),
  target_id: z.string().nullable(),
  target_name: z.string().nullable(),
  series: z.string(),
  name: z.string(),
  status: z.enum(['running', 'good', 'partial', 'failed']),
  deleting: z.boolean(),
  trashed_at: z.date().nullable(),
  in_trash: z.boolean(),
  wanted_back: z.boolean(),
  pinned: z.boolean(),
  chain: z.array(z.string()),
  bases: z.array(z.object({ id: z.string(), name: z.string() })),
  full_reason: z.string().nullable(),
  made: PointMade.extend({ problems: PointMade.shape.problems.default([]) }).nullable(),
  error: JobFailure.nullable(),
  stored_bytes: bigint,
  source_bytes: bigint,
  damaged_at: z.date().nullable(),
  damage: z.array(z.string()).nullable(),
  verified_at: z.date().nullable(),
  rehearsed_at: z.date().nullable(),
  recovery_seconds: z.number().nullable(),
  backup_root: z.string().nullable(),
  job_id: z.string(),
  version: bigint,
  created_at: z.date(),
  finished_at: z.date().nullable(),
})

/** @param made and bases: texts that yield them; lists need neither in full. */
const select = ({ made, bases }: { readonly made: string; readonly bases: string }) =>
  `select p.id, p.ordinal, p.group_id, p.source, h.name as host, s.target_id, t.name as target_name, s.directory as series,
     p.name, p.status, p.deleting, p.trashed_at, p.in_trash, p.wanted_back, p.pinned, p.chain, ${bases} as bases, p.full_reason, ${made} as made, p.error,
     p.stored_bytes, p.source_bytes, p.damaged_at, p.damage, p.verified_at, p.rehearsed_at, p.recovery_seconds,
     case when s.target_id is null then h.backup_root end as backup_root, p.job_id, p.version, p.created_at, p.finished_at
   from point p
   join point_series s on s.id = p.series_id
   join host h on h.id = p.host_id
   left join target t on t.id = s.target_id`

/** Names of a series grow with time. */
const WHOLE = select({
  made: 'p.made',
  bases: `coalesce((
       select jsonb_agg(jsonb_build_object('id', b.id, 'name', b.name) order by b.name)
       from point b
       where b.id = any(p.chain)
     ), '[]')`,
})

const find = statement('point_find', PointRow, `${WHOLE} where p.group_id = $1 and p.id = $2`)
const madeBy = statement('point_made_by', PointRow, `${WHOLE} where p.group_id = $1 and p.job_id = $2`)

/** Newest first. Each filter is null when it was not asked for. */
const list = statement(
  'point_list',
  PointRow,
  `${select({ made: "p.made - 'problems'", bases: "'[]'::jsonb" })}
   where p.group_id = $1
     and ($2::bigint is null or p.ordinal < $2)
     and ($3::text is null or $3 = case p.source ->> 'kind'
       when 'dataset' then p.source ->> 'name'
       when 'volume' then p.source ->> 'name'
       when 'path' then h.name || ':' || (p.source ->> 'path')
       else (p.source ->> 'type') || ':' || (p.source ->> 'name') end)
     and ($4::uuid is null or s.target_id = $4)
     and (not $5 or s.target_id is null)
     and ($6::text is null or p.status = $6)
   order by p.ordinal desc
   limit $7`,
)

const pin = statement(
  'point_pin',
  z.object({ id: z.string() }),
  `update point
   set pinned = $3, version = version + 1
   where id = $1 and version = $2
   returning id`,
)

/** What the job that made it says is what was made, and not only what it was to be called. */
const datasetsOf = statement(
  'point_datasets_of_instance',
  z.object({ id: z.string(), name: z.string() }),
  `select d.id, d.name
   from dataset d
   join pool p on p.id = d.pool_id
   join host h on h.id = p.host_id
   where d.group_id = $1 and d.tags ->> 'holdfast.instance' = $2 and d.tags ? 'holdfast.instance' and h.name = $3
     and d.state = 'available' and exists (
       select 1
       from job j
       where j.dataset_id = d.id and j.kind in ('point.restore', 'instance.clone') and j.state = 'succeeded'
         and $4 in (j.result #>> '{instance,instance}', j.result #>> '{made,instance}')
     )
   order by d.id
   limit 100`,
)

const isId = (id: string) => z.uuid().safeParse(id).success

export function createPointStore(sql: Sql): PointReader {
  return {
    async find(groupId, id) {
      if (!isId(id)) return undefined
      const [row] = await sql.rows(find, [groupId, id])
      return row && toPoint(row)
    },

    async madeBy(groupId, jobId) {
      const [row] = await sql.rows(madeBy, [groupId, jobId])
      return row && toPoint(row)
    },

    async list(groupId, { source, target, status }, { limit, cursor }) {
      const isLocal = target === 'local'
      // What is no id is no target's.
      if (target !== undefined && !isLocal && !isId(target)) return { items: [], nextCursor: null }
      const filter = [source ?? null, isLocal ? null : (target ?? null), isLocal, status ?? null]
      const rows = await sql.rows(list, [groupId, parseCursor(cursor), ...filter, limit + 1])
      const shown = rows.slice(0, limit)
      const last = shown.at(-1)
      return { items: shown.map(toPoint), nextCursor: rows.length > limit && last ? String(last.ordinal) : null }
    },

    pin: (caller, { id, version, groupId, name }, pinned) =>
      sql.transaction(async (tx) => {
        const [row] = await tx.rows(pin, [id, version, pinned])
        if (row === undefined) return false
        const operation = pinned ? 'point.pin' : 'point.unpin'
        const object = { kind: 'point', id, name }
        await writeAudit(tx, [{ by: actorOn(groupId, caller), operation, object, result: 'done' }])
        return true
      }),

    datasetsOf: (groupId, { type, ref, host, name }) =>
      sql.rows(datasetsOf, [groupId, instanceTag({ type, name }), host, ref]),

    async hostOf(groupId, dataset) {
      const [row] = await sql.rows(hostOfDataset, [groupId, dataset])
      return row?.host
    },
  }
}

/** @throws invalid. */
function parseCursor(cursor: string | undefined): string | null {
  if (cursor === undefined) return null
  if (/^\d{1,18}$/.test(cursor)) return cursor
  throw new FleetError('invalid', 'cursor: is not one that this server gave', { field: 'cursor' })
}

/** Below its group's directory, as its agent told it last. */
function directoryOf({ in_trash: inTrash, series, name }: z.infer<typeof PointRow>): string {
  return join(...(inTrash ? ['.trash'] : []), series, name)
}

function toPoint(row: z.infer<typeof PointRow>): KeptPoint {
  const { made, target_id: targetId, group_id: groupId } = row
  return {
    id: row.id,
    groupId,
    source: row.source,
    host: row.host,
    target: targetId === null ? null : { id: targetId, name: row.target_name ?? '' },
    series: row.series,
    name: row.name,
    status: row.status,
    isDeleting: row.deleting,
    trashedAt: row.trashed_at,
    isReturning: row.wanted_back,
    pinned: row.pinned,
    chain: row.chain,
    bases: row.bases,
    fullReason: row.full_reason,
    synthetic: made?.synthetic ?? false,
    storedBytes: row.stored_bytes,
    sourceBytes: row.source_bytes,
    members: made?.members ?? 0,
    problemCount: made?.problemCount ?? 0,
    problems: made?.problems ?? [],
    consistency: made?.consistency ?? 'crash',
    encrypted: made?.encrypted ?? false,
    error: row.error && { code: row.error.code, message: row.error.message },
    damage: row.damaged_at && { at: row.damaged_at, members: row.damage ?? [] },
    verifiedAt: row.verified_at,
    rehearsedAt: row.rehearsed_at,
    recoverySeconds: row.recovery_seconds,
    location: row.backup_root === null ? null : join(row.backup_root, groupId, directoryOf(row)),
    jobId: row.job_id,
    createdAt: row.created_at,
    finishedAt: row.finished_at,
    version: row.version,
  }
}
