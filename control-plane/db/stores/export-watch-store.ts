import { z } from 'zod'
import { LONGEST_PAUSE_DAYS } from '../../core/export-reconcile.ts'
import type { ExportRow } from '../../core/volume-book.ts'
import { type Sql, statement } from '../sql.ts'
import { EXPORT_COLUMNS, EXPORT_JOINS, ExportColumns } from './volume-columns.ts'

const standing = statement(
  'export_watch_standing',
  ExportColumns,
  `select ${EXPORT_COLUMNS}
   from export e ${EXPORT_JOINS}
   where e.state = 'available' and e.pool_id = any(array(
     select mine.id from host owner join pool mine on mine.host_id = owner.id where owner.name = any($1::text[])
   ))`,
)

const busy = statement(
  'export_watch_busy',
  z.object({ host: z.string() }),
  `select distinct h.name as host
   from host h
   join job j on j.host_id = h.id
   where h.name = any($1::text[]) and j.state in ('queued', 'dispatched', 'running', 'cancelling') and j.kind like 'export.%'`,
)

const paused = statement(
  'export_watch_paused',
  z.object({ host: z.string() }),
  `select h.name as host
   from host h
   join export_reconcile r on r.host_id = h.id
   where h.name = $1 and r.next_at > now() and r.next_at < now() + interval '${LONGEST_PAUSE_DAYS} days'`,
)

export interface ExportWatchStore {
  /** What stands on these hosts, as Postgres has it, of those about whose exports no job is open. */
  standing(hosts: readonly string[]): Promise<ReadonlyMap<string, readonly ExportRow[]>>
  /** Whether it was told a moment ago, or is not to be told yet. */
  isPaused(host: string): Promise<boolean>
}

export function createExportWatchStore(sql: Sql): ExportWatchStore {
  return {
    isPaused: async (host) => (await sql.rows(paused, [host])).length > 0,

    async standing(hosts) {
      // Rows after jobs: one that ends between leaves rows that its host tells of as well.
      const open = new Set((await sql.rows(busy, [hosts])).map(({ host }) => host))
      const quiet = hosts.filter((host) => !open.has(host))
      if (quiet.length === 0) return new Map()
      const byHost = Map.groupBy(await sql.rows(standing, [quiet]), ({ host }) => host)
      return new Map(quiet.map((host) => [host, byHost.get(host) ?? []]))
    },
  }
}
