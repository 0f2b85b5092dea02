import type { MigrationInterface, QueryRunner } from 'typeorm'

/** Backups of volumes: each a series of points of its own. */
export class VolumeBackups0017 implements MigrationInterface {
  readonly name = 'VolumeBackups0017_1700000000017'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  // What is folded (status to updated_at) is made of its points and jobs, and can be made of them again.
  `create table volume_backup (
     id uuid primary key,
     ordinal bigint generated always as identity unique,
     group_id uuid not null references user_group on delete cascade,
     name text not null,
     -- Both may be gone by now.
     volume_id uuid not null,
     volume text not null,
     snapshot_id uuid,
     -- A target with points is not deleted.
     target_id uuid references target on delete cascade,
     -- Made of the others and of the host, as series are: its row may not be there yet.
     series_id uuid not null unique,
     incremental boolean not null,
     retention integer not null check (retention = 0 or retention > 1),
     instance_backup_id uuid,
     -- Of the volume, when the newest point was asked for.
     asked_bytes bigint not null,
     restore_job_id uuid,
     deleting boolean not null default false,
     status text not null check (status in ('creating', 'available', 'error', 'deleting', 'restoring')),
     size_bytes bigint not null default 0,
     stored_bytes bigint not null default 0,
     fail_reason text,
     points uuid[] not null default '{}',
     job_id uuid,
     -- A good point came: older ones may go.
     owes_prune boolean not null default false,
     -- When it is looked at again; null: when somebody asks for something.
     look_at timestamptz,
     looks integer not null default 0,
     version bigint not null default 1,
     created_at timestamptz not null default now(),
     updated_at timestamptz not null default now()
   ) with (fillfactor = 70)`,
  'create index volume_backup_group on volume_backup (group_id, ordinal)',
  'create index volume_backup_volume on volume_backup (volume_id)',
  'create index volume_backup_target on volume_backup (target_id) where target_id is not null',
  'create index volume_backup_instance on volume_backup (instance_backup_id) where instance_backup_id is not null',
  'create index volume_backup_look on volume_backup (look_at) where look_at is not null',
]
