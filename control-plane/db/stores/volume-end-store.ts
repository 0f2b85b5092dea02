import { z } from 'zod'
import type { JobChange } from '../../core/job-change.ts'
import { concernsVolumes, MAKERS, namesOf, settleVolumes } from '../../core/volume-ends.ts'
import { createVolumeTable, type VolumeFacts, type VolumeTable } from '../../core/volume-table.ts'
import { statement, type Transaction } from '../sql.ts'
import {
  EXPORT_COLUMNS,
  EXPORT_JOINS,
  ExportColumns,
  SNAPSHOT_COLUMNS,
  SnapshotColumns,
  VOLUME_COLUMNS,
  VOLUME_JOINS,
  VolumeColumns,
} from './volume-columns.ts'

const volumes = statement(
  'volume_end_volumes',
  VolumeColumns,
  `select ${VOLUME_COLUMNS} from volume v ${VOLUME_JOINS} where v.lane = any($1::uuid[])`,
)

const exports = statement(
  'volume_end_exports',
  ExportColumns,
  `select ${EXPORT_COLUMNS} from export e ${EXPORT_JOINS} where e.wwn = any($1::text[])`,
)

const snapshots = statement(
  'volume_end_snapshots',
  SnapshotColumns,
  `select ${SNAPSHOT_COLUMNS} from volume_snapshot s where s.id = any($1::uuid[])
   union
   select ${SNAPSHOT_COLUMNS}
   from unnest($2::uuid[], $3::text[]) as named(lane, name)
   join volume v on v.lane = named.lane
   join volume_snapshot s on s.volume_id = v.id and s.name = named.name`,
)

/** The ended jobs' own holds are gone by now. */
const made = statement(
  'volume_end_makers',
  z.object({ lane: z.string() }),
  `select distinct l.lane
   from lane_hold l
   join job j on j.id = l.job_id
   where l.lane = any($1::uuid[]) and l.exclusive and j.kind = any($2::text[])`,
)

/** A row and the job that it came with were written in one transaction, at one time. */
const ordered = statement(
  'volume_end_ordered',
  z
    .object({ export_id: z.string(), job_id: z.string() })
    .transform(({ export_id: exportId, job_id: jobId }) => ({ exportId, jobId })),
  `select e.id as export_id, j.id as job_id
   from job j
   join export e on e.created_at = j.created_at
   where j.id = any($1::uuid[]) and j.kind = 'export.create' and e.wwn = any($2::text[])`,
)

const pools = statement(
  'volume_end_pools',
  z
    .object({ job_id: z.string(), id: z.string(), name: z.string(), local_name: z.string() })
    .transform(({ job_id, local_name, ...pool }) => ({ ...pool, jobId: job_id, localName: local_name })),
  `select j.id as job_id, p.id, p.name, p.local_name
   from job j
   join pool p on p.host_id = j.host_id
   where j.id = any($1::uuid[])`,
)

/** They travel with the order no more. */
const takeSecrets = statement(
  'volume_end_secrets',
  z.object({ job_id: z.string(), secret_id: z.string() }),
  `with had as (
     select job_id, secret_id from export_batch_job where job_id = any($1::uuid[]) and secret_id is not null
   ), taken as (
     update export_batch_job set secret_id = null where job_id in (select job_id from had)
   )
   select job_id, secret_id from had`,
)

/** First, so that what takes the place of one that goes finds its name free. */
const drop = statement(
  'volume_end_drop',
  z.unknown(),
  `with exports as (
     delete from export where id = any($1::uuid[])
   ), snapshots as (
     delete from volume_snapshot where id = any($2::uuid[])
   )
   delete from volume where id = any($3::uuid[])`,
)

const keep = statement(
  'volume_end_keep',
  z.unknown(),
  `with volumes as (
     insert into volume (id, group_id, pool_id, path, lane, size_bytes, state, device, guid, origin)
     select id, group_id, pool_id, path, lane, size_bytes, state, device, guid, origin
     from jsonb_to_recordset($1::jsonb) as r(id uuid, group_id uuid, pool_id uuid, path text, lane uuid, size_bytes bigint,
       state text, device text, guid text, origin text)
     on conflict (id) do update
     set size_bytes = excluded.size_bytes, state = excluded.state, device = excluded.device, guid = excluded.guid,
       origin = excluded.origin,       version = volume.version + 1
   ), exports as (
     insert into export (id, group_id, pool_id, wwn, volume, initiators, chap_user, is_readonly, secret_id, state)
     select id, group_id, pool_id, wwn, volume, initiators, chap_user, is_readonly, secret_id, state
     from jsonb_to_recordset($2::jsonb) as r(id uuid, group_id uuid, pool_id uuid, wwn text, volume text, initiators jsonb,
       chap_user text, is_readonly boolean, secret_id uuid, state text)
     on conflict (id) do update
     set initiators = excluded.initiators, chap_user = excluded.chap_user, is_readonly = excluded.is_readonly,
       secret_id = excluded.secret_id, state = excluded.state, version = export.version + 1
   )
   update volume_snapshot s
   set size_bytes = r.size_bytes, guid = r.guid, state = r.state, version = s.version + 1
   from jsonb_to_recordset($3::jsonb) as r(id uuid, size_bytes bigint, guid text, state text)
   where s.id = r.id`,
)

/** Behind all else: what nobody has any more. */
export const forgetSecrets = statement(
  'volume_end_forget_secrets',
  z.unknown(),
  `delete from secret s
   where s.id = any($1::uuid[])
     and not exists (select 1 from export e where e.secret_id = s.id)
     and not exists (select 1 from export_batch_job b where b.secret_id = s.id)`,
)

/** After the jobs, in their transaction, which holds the lock of volumes since before it wrote any. */
export async function settleVolumeEnds(tx: Transaction, changes: readonly JobChange[]): Promise<void> {
  const ended = changes.filter(concernsVolumes)
  if (ended.length === 0) return
  const table = createVolumeTable(await read(tx, ended))
  for (const change of ended) settleVolumes(table, change)
  await write(tx, table)
}

async function read(tx: Transaction, ended: readonly JobChange[]): Promise<VolumeFacts> {
  const names = namesOf(ended)
  const jobs = ended.map(({ job }) => job.id)
  const unmade = ended
    .filter((change) => change.job.kind === 'export.create' && !isWhole(change))
    .map(({ job }) => job.id)
  const [volumeRows, exportRows, snapshotRows, lanes, poolRows, secrets, orderedRows] = await Promise.all([
    tx.rows(volumes, [names.lanes]),
    names.wwns.length === 0 ? [] : tx.rows(exports, [names.wwns]),
    names.snapshots.length === 0
      ? []
      : tx.rows(snapshots, [names.snapshots, names.named.map(({ lane }) => lane), names.named.map(({ name }) => name)]),
    tx.rows(made, [names.lanes, MAKERS]),
    tx.rows(pools, [jobs]),
    names.wwns.length === 0 ? [] : tx.rows(takeSecrets, [jobs]),
    unmade.length === 0 ? [] : tx.rows(ordered, [unmade, names.wwns]),
  ])
  return {
    ...{ volumes: volumeRows, exports: exportRows, snapshots: snapshotRows, pools: poolRows },
    madeByOthers: new Set(lanes.map(({ lane }) => lane)),
    ordered: orderedRows,
    secrets: new Map(secrets.map((row) => [row.job_id, row.secret_id])),
  }
}

/** Not an element of it failed. */
function isWhole({ state, result }: JobChange): boolean {
  if (state !== 'succeeded' || typeof result !== 'object' || result === null || !('errors' in result)) return false
  return Array.isArray(result.errors) && result.errors.length === 0
}

async function write(tx: Transaction, table: VolumeTable): Promise<void> {
  const { volumes: kept, exports: keptExports, snapshots: keptSnapshots, dropped, secrets } = table.changes()
  const isAnyDropped = Object.values(dropped).some((ids) => ids.length > 0)
  const isAnyKept = kept.length + keptExports.length + keptSnapshots.length > 0
  if (isAnyDropped) await tx.rows(drop, [dropped.exports, dropped.snapshots, dropped.volumes])
  if (isAnyKept) {
    await tx.rows(keep, [
      JSON.stringify(
        kept.map(({ groupId, poolId, sizeBytes, ...row }) => ({
          ...row,
          group_id: groupId,
          pool_id: poolId,
          size_bytes: sizeBytes,
        })),
      ),
      JSON.stringify(
        keptExports.map(({ groupId, poolId, chapUser, isReadonly, secretId, ...row }) => ({
          ...{ ...row, group_id: groupId, pool_id: poolId, chap_user: chapUser },
          ...{ is_readonly: isReadonly, secret_id: secretId },
        })),
      ),
      JSON.stringify(
        keptSnapshots.map(({ id, sizeBytes, guid, state }) => ({ id, size_bytes: sizeBytes, guid, state })),
      ),
    ])
  }
  if (secrets.length > 0) await tx.rows(forgetSecrets, [[...new Set(secrets)]])
}
