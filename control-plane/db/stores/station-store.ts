import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { newId } from '../../../shared/ids.ts'
import { actorOn } from '../../core/audit.ts'
import type { Caller } from '../../core/caller.ts'
import type { StationEventBody } from '../../core/event-body.ts'
import type { Page, PageRequest } from '../../core/page.ts'
import type { StationBackup } from '../../core/station.ts'
import { ADVISORY_LOCKS } from '../advisory-locks.ts'
import { type Sql, statement, type Transaction } from '../sql.ts'
import { writeAudit } from './audit-write.ts'
import { type Committed, readWritten, writeChanges, writeValues } from './change-write.ts'

/** A replica that does not say in time that it still works on one has ended. */
const LEASE_SECONDS = 120
const KEPT_ROWS = 1_000
const DIED = 'the control plane ended in the middle of it'

const Row = z
  .object({
    id: z.string(),
    ordinal: z.coerce.number(),
    trigger: z.enum(['due', 'asked']),
    state: z.enum(['running', 'good', 'failed']),
    asked_by: z.string(),
    started_at: z.date(),
    ended_at: z.date().nullable(),
    file: z.string().nullable(),
    stored_bytes: z.coerce.number().nullable(),
    sha256: z.string().nullable(),
    encrypted: z.boolean().nullable(),
    keys: z.boolean().nullable(),
    reason: z.string().nullable(),
    evicted_at: z.date().nullable(),
  })
  .transform((row): StationBackup & { readonly ordinal: number } => ({
    ...{ id: row.id, ordinal: row.ordinal, trigger: row.trigger, state: row.state, askedBy: row.asked_by },
    ...{ startedAt: row.started_at, endedAt: row.ended_at, file: row.file, storedBytes: row.stored_bytes },
    ...{ sha256: row.sha256, encrypted: row.encrypted, keys: row.keys, reason: row.reason, evictedAt: row.evicted_at },
  }))

const COLUMNS = `id, ordinal, trigger, state, asked_by, started_at, ended_at, file, stored_bytes, sha256, encrypted, keys, reason,
  evicted_at`

const list = statement(
  'station_backups',
  Row,
  `select ${COLUMNS} from station_backup where $1::bigint is null or ordinal < $1 order by ordinal desc limit $2`,
)

const lock = statement('station_lock', z.unknown(), 'select pg_advisory_xact_lock($1)')

const lapse = statement(
  'station_lapse',
  z.unknown(),
  `update station_backup set state = 'failed', ended_at = now(), reason = '${DIED}' where state = 'running' and lease < now()`,
)

const begin = statement(
  'station_begin',
  Row,
  `insert into station_backup (id, trigger, state, asked_by, lease)
   values ($1, $2, 'running', $3, now() + make_interval(secs => ${LEASE_SECONDS}))
   on conflict (state) where state = 'running' do nothing
   returning ${COLUMNS}`,
)

const extend = statement(
  'station_extend',
  z.unknown(),
  `update station_backup set lease = now() + make_interval(secs => ${LEASE_SECONDS}) where id = $1 and state = 'running'`,
)

const endGood = statement(
  'station_end_good',
  z.object({ id: z.string() }),
  `update station_backup
   set state = 'good', ended_at = now(), file = $2, stored_bytes = $3, sha256 = $4, encrypted = $5, keys = $6, reason = null
   where id = $1
   returning id`,
)

const endFailed = statement(
  'station_end_failed',
  z.object({ id: z.string() }),
  `update station_backup set state = 'failed', ended_at = now(), reason = $2 where id = $1 and state = 'running' returning id`,
)

const evicted = statement(
  'station_evicted',
  z.unknown(),
  'update station_backup set evicted_at = now() where file = any($1::text[]) and evicted_at is null',
)

const prune = statement(
  'station_prune',
  z.unknown(),
  `delete from station_backup where ordinal < (select max(ordinal) from station_backup) - ${KEPT_ROWS} and state <> 'running' and
     (state = 'failed' or evicted_at is not null)`,
)

/** By when they began: what was written before it is in it. A death is no failure that is told of when it is seen. */
const newest = statement(
  'station_newest',
  z.object({
    good_at: z.date().nullable(),
    failed_at: z.date().nullable(),
    running_at: z.date().nullable(),
    reason: z.string().nullable(),
    overdue: z.boolean(),
  }),
  `select (select max(started_at) from station_backup where state = 'good') as good_at,
     (select max(started_at) from station_backup where state = 'failed' and trigger = 'due') as failed_at,
     (select max(started_at) from station_backup where state = 'running') as running_at,
     (select reason from station_backup where state = 'failed' order by ordinal desc limit 1) as reason,
     (select backup_overdue from station) as overdue`,
)

const setOverdue = statement(
  'station_set_overdue',
  z.object({ one: z.boolean() }),
  'update station set backup_overdue = $1 where backup_overdue <> $1 returning one',
)

const keepAlert = statement('station_alert', z.unknown(), 'insert into alert (id, body) values ($1, $2::json)')

const readStation = statement('station_id', z.object({ id: z.string() }), 'select id from station')
const owesPurge = statement(
  'station_owes_purge',
  z.object({ owes_purge: z.boolean() }),
  'select owes_purge from station',
)
const purged = statement('station_purged', z.unknown(), 'update station set owes_purge = false')

/** When the newest good one and the newest due one that failed began, by Postgres' clock. */
export interface NewestBackups {
  readonly goodAt: Date | null
  readonly failedAt: Date | null
  readonly runningAt: Date | null
  /** Why the newest that failed did. */
  readonly reason: string | null
  /** As it was told last. */
  readonly overdue: boolean
}

export interface WrittenFile {
  readonly path: string
  readonly storedBytes: number
  readonly sha256: string
  readonly encrypted: boolean
  readonly keys: boolean
}

export interface StationStore {
  list(page: PageRequest): Promise<Page<StationBackup>>
  /** @returns undefined while one is made. */
  beginAsked(caller: Caller): Promise<StationBackup | undefined>
  /** Lets `decide` look at what there is, one replica at a time. @returns undefined when none is to be made, or one is. */
  beginDue(decide: (newest: NewestBackups) => boolean): Promise<StationBackup | undefined>
  /** It is still worked on. */
  extend(id: string): Promise<void>
  endGood(id: string, written: WrittenFile): Promise<void>
  endFailed(id: string, reason: string): Promise<void>
  evicted(paths: readonly string[]): Promise<void>
  newest(): Promise<NewestBackups>
  /** @param reason for the webhook alone. @returns what is told to the feed; undefined when it was told before. */
  tellOverdue(told: StationEventBody, reason: string | null, webhook: boolean): Promise<Committed | undefined>
  /** What it is known by. */
  station(): Promise<string>
  /** Whether NATS may hold orders from before a restore. */
  owesPurge(): Promise<boolean>
  purged(): Promise<void>
}

/** @param origin tells this replica's notifications from the others'. */
export function createStationStore(sql: Sql, origin: string): StationStore {
  async function readNewest(from: Pick<Sql, 'rows'>): Promise<NewestBackups> {
    const [row] = await from.rows(newest, [])
    return {
      ...{ goodAt: row?.good_at ?? null, failedAt: row?.failed_at ?? null, runningAt: row?.running_at ?? null },
      ...{ reason: row?.reason ?? null, overdue: row?.overdue ?? false },
    }
  }

  async function take(tx: Transaction): Promise<void> {
    await tx.rows(lock, [ADVISORY_LOCKS.station])
    await tx.rows(lapse, [])
  }

  return {
    async list({ limit, cursor }) {
      const rows = await sql.rows(list, [parseCursor(cursor), limit + 1])
      const items = rows.slice(0, limit)
      const last = items.at(-1)
      return { items, nextCursor: rows.length > limit && last ? String(last.ordinal) : null }
    },

    beginAsked: (caller) =>
      sql.transaction(async (tx) => {
        await take(tx)
        const [row] = await tx.rows(begin, [newId(), 'asked', caller.subject])
        if (row === undefined) return undefined
        const object = { kind: 'station-backup', id: row.id }
        await writeAudit(tx, [{ by: actorOn(null, caller), operation: 'station.backup', object, result: 'accepted' }])
        return row
      }),

    beginDue: (decide) =>
      sql.transaction(async (tx) => {
        await take(tx)
        if (!decide(await readNewest(tx))) return undefined
        const [row] = await tx.rows(begin, [newId(), 'due', 'system'])
        return row
      }),

    async extend(id) {
      await sql.rows(extend, [id])
    },

    async endGood(id, { path, storedBytes, sha256, encrypted, keys }) {
      await sql.rows(endGood, [id, path, storedBytes, sha256, encrypted, keys])
      await sql.rows(prune, [])
    },

    async endFailed(id, reason) {
      await sql.rows(endFailed, [id, reason])
    },

    async evicted(paths) {
      if (paths.length > 0) await sql.rows(evicted, [paths])
    },

    newest: () => readNewest(sql),

    tellOverdue: (body, reason, webhook) =>
      sql.transaction(async (tx) => {
        const changed = await tx.rows(setOverdue, [body.state === 'overdue'])
        if (changed.length === 0) return undefined
        const at = new Date().toISOString()
        const type = `station.backup_${body.state}`
        const id = newId()
        if (webhook) await tx.rows(keepAlert, [id, JSON.stringify({ id, type, at, ...body, reason })])
        const group = { changes: [], events: [{ type, jobId: null, groupId: null, body }], origin }
        const [answer] = await tx.rowsAndCommit(writeChanges, writeValues(group, at))
        return readWritten(group, answer, at)
      }),

    station: async () => (await sql.rows(readStation, []))[0]?.id ?? '',

    owesPurge: async () => (await sql.rows(owesPurge, []))[0]?.owes_purge ?? false,

    async purged() {
      await sql.rows(purged, [])
    },
  }
}

function parseCursor(cursor: string | undefined): string | null {
  if (cursor === undefined) return null
  if (/^\d{1,18}$/.test(cursor)) return cursor
  throw new FleetError('invalid', 'cursor: is not one that this server gave', { field: 'cursor' })
}
