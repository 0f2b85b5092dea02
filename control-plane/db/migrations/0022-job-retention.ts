import type { MigrationInterface, QueryRunner } from 'typeorm'

/** Ended jobs go after long: how far that has come, and indexes by which it is seen what still names one. Pages of all groups' instances. */
export class JobRetention0022 implements MigrationInterface {
  readonly name = 'JobRetention0022_1700000000022'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  `create table job_pruning (
     one boolean primary key default true check (one),
     -- Every older job was looked at since then: what stayed is looked at again another time.
     ordinal bigint not null default 0,
     began_at timestamptz not null default now()
   )`,
  'insert into job_pruning default values',
  'create index export_batch_created on export_batch (created_at)',
  'create index volume_backup_job on volume_backup (job_id)',
  'create index volume_backup_restore_job on volume_backup (restore_job_id) where restore_job_id is not null',
  'create index instance_move_job on instance_move (job_id) where job_id is not null',
  'create index block_volume_delete_job on block_volume (delete_job_id) where delete_job_id is not null',
  'create index block_snapshot_delete_job on block_snapshot (delete_job_id) where delete_job_id is not null',
  'create index instance_ordinal on instance (ordinal)',
  'create index instance_any_name on instance (name) where gone_at is null',
  'create index instance_any_ref on instance (ref) where gone_at is null',
]
