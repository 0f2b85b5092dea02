import type { MigrationInterface, QueryRunner } from 'typeorm'

/** Backups of volumes of the block service behind us, and what it lends for them. */
export class LunLoans0020 implements MigrationInterface {
  readonly name = 'LunLoans0020_1700000000020'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  // As whom it logs in to LUNs of others; null: it cannot.
  'alter table host add column initiator text',

  // Whose the volume is in the block service behind us; null: it is one of the fleet's.
  'alter table volume_backup add column project text',
  // {kind, reason, atMs}: why the newest loan for it came to nothing before it had a job.
  'alter table volume_backup add column lend_fault jsonb',

  // Nothing here is a reference: what was lent is given back also when the group, the backup or the job is gone.
  `create table lun_loan (
     id uuid primary key,
     group_id uuid not null,
     backup_id uuid not null,
     kind text not null check (kind in ('read', 'write')),
     project text not null,
     -- The one that is backed up, or that was made for a restore: null until the service has said which.
     volume_id uuid,
     -- The one that the client named; without, one is made.
     snapshot_id uuid,
     size_bytes bigint not null,
     -- Who logs in, once that is decided.
     host text,
     initiator text,
     -- LunConnection
     connection jsonb,
     secret_id uuid,
     phase text not null check (phase in ('snapshot', 'copy', 'make', 'reserve', 'connect', 'work', 'disconnect', 'release',
       'drop-copy', 'drop-snapshot', 'drop-volume')),
     phase_at timestamptz not null default now(),
     job_id uuid,
     fail_reason text,
     look_at timestamptz not null default now(),
     looks integer not null default 0,
     created_at timestamptz not null default now()
   ) with (fillfactor = 70)`,
  'create index lun_loan_look on lun_loan (look_at)',
  'create index lun_loan_backup on lun_loan (backup_id)',
  'create index lun_loan_job on lun_loan (job_id) where job_id is not null',
  `create unique index lun_loan_pending on lun_loan (backup_id)
   where phase in ('snapshot', 'copy', 'make', 'reserve', 'connect')`,
]
