import { z } from 'zod'
import { LONGEST_PAUSE_DAYS } from '../../core/export-reconcile.ts'
import type { VolumeFindings, VolumeReads } from '../../core/volume-book.ts'
import { ADVISORY_LOCKS } from '../advisory-locks.ts'
import { statement, type Transaction } from '../sql.ts'
import { lockPointsOf, NO_POINTS } from './order-points.ts'
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

const lockAll = statement('volume_lock', z.unknown(), `select pg_advisory_xact_lock(${ADVISORY_LOCKS.volumes})`)

/**
 * Until the transaction ends nobody else decides on volumes and exports, or writes what became of some: what is read after this stays
 * so. Comes before everything else that a transaction locks or numbers.
 */
export function lockVolumes(tx: Pick<Transaction, 'rows'>): Promise<unknown> {
  return tx.rows(lockAll, [])
}

const tryLockAll = statement(
  'volume_try_lock',
  z.object({ alone: z.boolean() }),
  `select pg_try_advisory_xact_lock(${ADVISORY_LOCKS.volumes}) as alone`,
)

/** The same without waiting, for those who hold something already. @returns whether it is theirs */
export async function tryLockVolumes(tx: Pick<Transaction, 'rows'>): Promise<boolean> {
  const [row] = await tx.rows(tryLockAll, [])
  return row?.alone ?? false
}

const volumes = statement(
  'volume_order_volumes',
  VolumeColumns,
  `select ${VOLUME_COLUMNS} from volume v ${VOLUME_JOINS} where v.path = any($1::text[])`,
)

const snapshots = statement(
  'volume_order_snapshots',
  SnapshotColumns,
  `select ${SNAPSHOT_COLUMNS} from volume_snapshot s where s.path = any($1::text[])`,
)

const exportsNamed = statement(
  'volume_order_exports',
  ExportColumns,
  `select ${EXPORT_COLUMNS} from export e ${EXPORT_JOINS} where e.wwn = any($1::text[])`,
)

const exportsOfVolumes = statement(
  'volume_order_exports_of',
  ExportColumns,
  `select ${EXPORT_COLUMNS} from export e ${EXPORT_JOINS} where e.volume = any($1::text[])`,
)

const dependants = statement(
  'volume_order_dependants',
  z.object({
    volume: z.string(),
    kind: z.enum(['snapshot', 'clone', 'server']),
    path: z.string(),
    origin: z.string().nullable(),
  }),
  `select v.path as volume, 'snapshot' as kind, s.path, null as origin
   from volume v
   join volume_snapshot s on s.volume_id = v.id
   where v.path = any($1::text[]) and v.state <> 'deleting' and s.state <> 'deleting'
   union all
   select origin_volume, 'clone', path, origin
   from volume
   where origin_volume = any($1::text[]) and state <> 'deleting'
   union all
   select v.path, 'server', coalesce(a.instance_id::text, a.host_name, 'unnamed'), null
   from volume v
   join volume_attachment a on a.volume_id = v.id
   where v.path = any($1::text[]) and v.state <> 'deleting'`,
)

const exportsOfHost = statement(
  'volume_order_exports_of_host',
  ExportColumns,
  `select ${EXPORT_COLUMNS} from host h join pool p on p.host_id = h.id join export e on e.pool_id = p.id where h.name = $1`,
)

const hostState = statement(
  'volume_order_host_state',
  z.object({ has_open: z.boolean(), may: z.boolean() }),
  `select exists (
       select 1
       from job j
       where j.host_id = h.id and j.state in ('queued', 'dispatched', 'running', 'cancelling') and j.kind like 'export.%'
     ) as has_open,
     not exists (select 1 from export_reconcile r where r.host_id = h.id and r.next_at > now() and r.next_at < now() + interval '${LONGEST_PAUSE_DAYS} days') as may
   from host h
   where h.name = $1`,
)

/** Under the lock. */
export async function readFindings(
  tx: Pick<Transaction, 'rows'>,
  reads: VolumeReads,
  groupId: string,
): Promise<VolumeFindings> {
  const {
    volumes: paths = [],
    snapshots: named = [],
    wwns = [],
    needed = [],
    free = [],
    exportsOf,
    points = [],
  } = reads
  const [volumeRows, snapshotRows, exportRows, ofVolumes, resting, ofHost, host, pointsOf] = await Promise.all([
    paths.length === 0 ? [] : tx.rows(volumes, [paths]),
    named.length === 0 ? [] : tx.rows(snapshots, [named]),
    wwns.length === 0 ? [] : tx.rows(exportsNamed, [wwns]),
    needed.length + free.length === 0 ? [] : tx.rows(exportsOfVolumes, [[...needed, ...free]]),
    needed.length === 0 ? [] : tx.rows(dependants, [needed]),
    exportsOf === undefined ? [] : tx.rows(exportsOfHost, [exportsOf]),
    exportsOf === undefined ? [] : tx.rows(hostState, [exportsOf]),
    points.length === 0 ? undefined : lockPointsOf(tx, [{ groupId, points: { ids: points } }]),
  ])
  const volumeAt = livingBy(volumeRows, ({ path }) => path)
  const snapshotAt = livingBy(snapshotRows, ({ path }) => path)
  const exportAt = livingBy(exportRows, ({ wwn }) => wwn)
  const exportsAt = Map.groupBy(ofVolumes, ({ volume }) => volume)
  const restingOn = Map.groupBy(resting, ({ volume }) => volume)
  return {
    volume: (path) => volumeAt.get(path),
    snapshot: (path) => snapshotAt.get(path),
    export: (wwn) => exportAt.get(wwn),
    exportsOf: (path) => exportsAt.get(path) ?? [],
    snapshotsOf: (path) => (restingOn.get(path) ?? []).filter(({ kind }) => kind === 'snapshot').map((one) => one.path),
    serversOf: (path) => (restingOn.get(path) ?? []).filter(({ kind }) => kind === 'server').map((one) => one.path),
    clonesOf: (path) =>
      (restingOn.get(path) ?? []).flatMap((one) =>
        one.origin === null ? [] : [{ path: one.path, origin: one.origin }],
      ),
    hostExports: ofHost,
    hasOpenExportJobs: host[0]?.has_open ?? false,
    mayReconcile: host[0]?.may ?? false,
    points: pointsOf?.({}) ?? NO_POINTS,
  }
}

/** Of two rows of one name the one that does not go. */
function livingBy<Row extends { readonly state: string }>(
  rows: readonly Row[],
  nameOf: (row: Row) => string,
): ReadonlyMap<string, Row> {
  const byName = new Map<string, Row>()
  for (const row of rows) {
    if (row.state === 'deleting' && byName.has(nameOf(row))) continue
    byName.set(nameOf(row), row)
  }
  return byName
}
