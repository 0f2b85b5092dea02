import { z } from 'zod'
import { JobState } from '../../../shared/job-machine.ts'
import { LunConnection } from '../../../shared/volume-spec.ts'
import { actorOn } from '../../core/audit.ts'
import { LOAN_PHASES, type Loan, type LoanStore, type NewLoan } from '../../core/loans.ts'
import type { Secrets } from '../../core/secrets.ts'
import { claims, type Sql, sqlState, statement, type Transaction } from '../sql.ts'
import { writeAudit } from './audit-write.ts'
import { isDue } from './is-due.ts'
import { LOOK_AGAIN_SECONDS } from './order-backups.ts'
import { refold } from './volume-backup-fold.ts'

/** Longer than any step takes: then whoever took it has died over it. */
const LEASE_SECONDS = 600
/** A volume that a client waits for is made by its own request; after this nobody waits any more. */
const MAKE_SECONDS = 300
const UNIQUE_VIOLATION = '23505'

const LoanRow = z
  .object({
    id: z.string(),
    group_id: z.string(),
    backup_id: z.string(),
    kind: z.enum(['read', 'write']),
    project: z.string(),
    volume_id: z.string().nullable(),
    snapshot_id: z.string().nullable(),
    size_bytes: z.coerce.number(),
    host: z.string().nullable(),
    initiator: z.string().nullable(),
    connection: LunConnection.nullable(),
    phase: z.enum(LOAN_PHASES),
    phase_at: z.date(),
    looks: z.number(),
    job_id: z.string().nullable(),
    job_state: JobState.nullable(),
    fail_reason: z.string().nullable(),
  })
  .transform(
    (row): Loan => ({
      ...{ id: row.id, groupId: row.group_id, backupId: row.backup_id, kind: row.kind, project: row.project },
      ...{ volumeId: row.volume_id, snapshotId: row.snapshot_id, sizeBytes: row.size_bytes, host: row.host },
      ...{ initiator: row.initiator, connection: row.connection, phase: row.phase, phaseAt: row.phase_at },
      ...{ looks: row.looks, failReason: row.fail_reason },
      job: row.job_id === null ? null : { id: row.job_id, state: row.job_state },
    }),
  )

const begin = statement(
  'loan_begin',
  z.unknown(),
  `insert into lun_loan (id, group_id, backup_id, kind, project, volume_id, snapshot_id, size_bytes, host, phase, look_at)
   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, case $4 when 'read' then 'snapshot' else 'make' end,
     now() + make_interval(secs => case $4 when 'read' then 0 else ${MAKE_SECONDS} end))`,
)

const newBackup = statement(
  'loan_new_backup',
  z.object({ id: z.string() }),
  `insert into volume_backup (id, group_id, name, volume_id, volume, project, snapshot_id, target_id, series_id, incremental, retention,
     asked_bytes, status, look_at)
   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'creating', now() + make_interval(secs => ${LOOK_AGAIN_SECONDS}))
   on conflict (id) do nothing
   returning id`,
)

const takeBackup = statement(
  'loan_take_backup',
  z.object({ id: z.string() }),
  `update volume_backup
   set lend_fault = null, looks = 0
   where id = $1 and group_id = $2 and version = $3 and status in ('available', 'error')
   returning id`,
)

const made = statement(
  'loan_made',
  z.object({ id: z.string() }),
  `update lun_loan
   set volume_id = $2, phase = 'reserve', phase_at = now(), look_at = now(), looks = 0
   where id = $1 and phase = 'make'
   returning id`,
)

const phaseOf = statement(
  'loan_phase',
  z.object({ phase: z.enum(LOAN_PHASES) }),
  'select phase from lun_loan where id = $1',
)

const remove = statement(
  'loan_remove',
  z.object({ backup_id: z.string() }),
  `delete from lun_loan where id = $1 and phase = $2 returning backup_id`,
)

const claim = claims(
  'loan_claim',
  LoanRow,
  `update lun_loan t
   set looks = t.looks + 1, look_at = now() + make_interval(secs => ${LEASE_SECONDS})
   where t.id in (select id from lun_loan where ${isDue('look_at')} order by look_at limit $1 for update skip locked)
   returning t.id, t.group_id, t.backup_id, t.kind, t.project, t.volume_id, t.snapshot_id, t.size_bytes, t.host, t.initiator, t.connection,
     t.phase, t.phase_at, t.looks, t.job_id, (select j.state from job j where j.id = t.job_id) as job_state, t.fail_reason`,
)

const wait = statement(
  'loan_wait',
  z.unknown(),
  `update lun_loan set look_at = now() + make_interval(secs => $3::float8 / 1000) where id = $1 and phase = $2`,
)

const turn = statement(
  'loan_turn',
  z.object({ id: z.string(), secret_id: z.string().nullable() }),
  `update lun_loan
   set phase = $3, phase_at = now(), look_at = now(), looks = 0, fail_reason = coalesce($4, fail_reason)
   where id = $1 and phase = $2
   returning id, secret_id`,
)

const fault = statement(
  'loan_fault',
  z.unknown(),
  `update volume_backup
   set lend_fault = jsonb_build_object('kind', $2::text, 'reason', $3::text, 'atMs', extract(epoch from clock_timestamp()) * 1000)
   where id = $1`,
)

const choose = statement(
  'loan_choose',
  z.unknown(),
  'update lun_loan set host = $3, initiator = $4 where id = $1 and phase = $2',
)

const lockSecret = statement(
  'loan_secret',
  z.object({ secret_id: z.string().nullable() }),
  'select secret_id from lun_loan where id = $1 for update',
)

const keep = statement('loan_keep', z.unknown(), 'update lun_loan set connection = $2, secret_id = $3 where id = $1')

/** Before its loan, as in every transaction that has both. */
const lockBackup = statement(
  'loan_lock_backup',
  z.object({ id: z.string() }),
  'select b.id from volume_backup b where b.id = (select backup_id from lun_loan where id = $1) for update',
)

const series = statement(
  'loan_series',
  z.object({ series_id: z.string() }),
  'select series_id from volume_backup where id = $1',
)

/** @param secretsOf as a transaction sees them */
export function createLoanStore(sql: Sql, secretsOf: (within: Pick<Sql, 'rows'>) => Secrets): LoanStore {
  async function insert(tx: Transaction, loan: NewLoan): Promise<void> {
    const { id, groupId, backupId, kind, project, volumeId, snapshotId, sizeBytes, host } = loan
    await tx.rows(begin, [id, groupId, backupId, kind, project, volumeId, snapshotId, sizeBytes, host])
  }

  return {
    beginBackup: (caller, loan, backup) =>
      sql.transaction(async (tx) => {
        const { id, groupId, name, volumeId, volume, project, snapshotId, targetId, seriesId, retention } = backup
        const named = [id, groupId, name, volumeId, volume, project, snapshotId, targetId, seriesId]
        const [row] = await tx.rows(newBackup, [...named, backup.isIncremental, retention, loan.sizeBytes])
        if (row === undefined) return false
        await insert(tx, loan)
        const object = { kind: 'volume-backup', id, name }
        const by = actorOn(groupId, caller)
        await writeAudit(tx, [{ by, operation: 'volume-backup.create', object, result: 'accepted' }])
        return true
      }),

    begin: (caller, loan, { version, name }) =>
      sql
        .transaction(async (tx) => {
          const [row] = await tx.rows(takeBackup, [loan.backupId, loan.groupId, version])
          if (row === undefined) return false
          await insert(tx, loan)
          await refold(tx, [loan.backupId])
          const object = { kind: 'volume-backup', id: loan.backupId, name }
          const operation = `volume-backup.${loan.kind === 'read' ? 'update' : 'restore'}`
          await writeAudit(tx, [{ by: actorOn(loan.groupId, caller), operation, object, result: 'accepted' }])
          return true
        })
        .catch((error: unknown) => {
          // Another one was begun in this moment.
          if (sqlState(error) === UNIQUE_VIOLATION) return false
          throw error
        }),

    made: async (id, volumeId) => (await sql.rows(made, [id, volumeId])).length > 0,

    phaseOf: async (id) => (await sql.rows(phaseOf, [id]))[0]?.phase,

    forget: (id) =>
      sql.transaction(async (tx) => {
        await tx.rows(lockBackup, [id])
        const [row] = await tx.rows(remove, [id, 'make'])
        if (row) await refold(tx, [row.backup_id])
      }),

    claim: (limit) => sql.rows(claim, [limit]),

    async wait({ id, phase }, ms) {
      await sql.rows(wait, [id, phase, ms])
    },

    async turn({ id, phase }, to) {
      await sql.rows(turn, [id, phase, to, null])
    },

    fail: ({ id, phase, backupId, kind }, reason) =>
      sql.transaction(async (tx) => {
        await tx.rows(lockBackup, [id])
        const [row] = await tx.rows(turn, [id, phase, 'disconnect', reason])
        if (row === undefined || phase === 'work') return
        await tx.rows(fault, [backupId, kind, reason])
        await refold(tx, [backupId])
      }),

    async choose({ id, phase }, { host, initiator }) {
      await sql.rows(choose, [id, phase, host, initiator])
    },

    connected: ({ id, groupId }, { chap, ...lun }) =>
      sql.transaction(async (tx) => {
        const secrets = secretsOf(tx)
        const [before] = await tx.rows(lockSecret, [id])
        if (before?.secret_id) await secrets.delete(before.secret_id)
        const secretId = chap && (await secrets.put({ groupId, kind: 'chap', bytes: Buffer.from(chap.secret) }))
        const connection: LunConnection = { ...lun, chap: chap && secretId ? { user: chap.user, secretId } : null }
        await tx.rows(keep, [id, JSON.stringify(connection), secretId])
        return connection
      }),

    disconnected: ({ id, phase }, to) =>
      sql.transaction(async (tx) => {
        const [row] = await tx.rows(turn, [id, phase, to, null])
        if (!row?.secret_id) return
        await secretsOf(tx).delete(row.secret_id)
        await tx.rows(keep, [id, null, null])
      }),

    async drop({ id, phase }) {
      await sql.rows(remove, [id, phase])
    },

    seriesOf: async (backupId) => (await sql.rows(series, [backupId]))[0]?.series_id,
  }
}
