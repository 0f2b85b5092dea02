import type { MigrationInterface, QueryRunner } from 'typeorm'

/** Snapshots and backups of instances with all that they are made of. */
export class InstanceCaptures0019 implements MigrationInterface {
  readonly name = 'InstanceCaptures0019_1700000000019'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  `create table instance_snapshot (
     id uuid primary key,
     ordinal bigint generated always as identity unique,
     group_id uuid not null references user_group on delete cascade,
     name text not null,
     -- It may be gone by now.
     instance_id uuid not null,
     instance_type text not null,
     instance_name text not null,
     host text not null,
     status text not null check (status in ('creating', 'available', 'error', 'deleting')),
     fail_reason text,
     consistency text check (consistency in ('frozen', 'stopped', 'crash')),
     -- ["<destination>"]
     left_out jsonb not null default '[]',
     -- The job that made it, or deletes it.
     job_id uuid,
     version bigint not null default 1,
     created_at timestamptz not null default now(),
     updated_at timestamptz not null default now()
   ) with (fillfactor = 80)`,
  'create index instance_snapshot_group on instance_snapshot (group_id, ordinal)',
  'create index instance_snapshot_instance on instance_snapshot (instance_id, ordinal)',
  'create index instance_snapshot_job on instance_snapshot (job_id)',

  `create table instance_snapshot_part (
     snapshot_id uuid not null references instance_snapshot on delete cascade,
     n integer not null,
     kind text not null check (kind in ('dataset', 'volume')),
     -- Of a dataset or a volume snapshot; it is gone where the snapshot failed.
     part_id uuid not null,
     source_id uuid not null,
     size_bytes bigint not null default 0,
     status text not null check (status in ('creating', 'available', 'error', 'deleting')),
     primary key (snapshot_id, n)
   )`,
  'create index instance_snapshot_part_id on instance_snapshot_part (part_id)',

  // Whoever wants to delete such a one is told of what it is a part of.
  'alter table dataset add column instance_snapshot_id uuid references instance_snapshot on delete set null',
  'create index dataset_instance_snapshot on dataset (instance_snapshot_id) where instance_snapshot_id is not null',
  'alter table volume_snapshot add column instance_snapshot_id uuid references instance_snapshot on delete set null',
  `create index volume_snapshot_instance_snapshot on volume_snapshot (instance_snapshot_id)
   where instance_snapshot_id is not null`,

  // Its parts are the points of its own series, and the volume backups that name it.
  `create table instance_backup (
     id uuid primary key,
     ordinal bigint generated always as identity unique,
     group_id uuid not null references user_group on delete cascade,
     name text not null,
     instance_id uuid not null,
     instance_type text not null,
     instance_name text not null,
     host text not null,
     target_id uuid references target on delete cascade,
     series_id uuid not null unique,
     incremental boolean not null,
     -- [{volumeId, volume, error}]: volumes of it that no backup could be ordered of when it was asked for last.
     missing jsonb not null default '[]',
     -- The instance's, when the newest point of it was asked for.
     asked_state text not null,
     -- One with volumes: a snapshot of all it is made of is taken, its parts are ordered and read from that, and it goes.
     phase text check (phase in ('snapshot', 'volumes', 'reading', 'ending')),
     snapshot_id uuid,
     -- Of the snapshot that the newest point was read from.
     captured text check (captured in ('frozen', 'stopped', 'crash')),
     -- Parts are still being ordered, until then.
     ordering_until timestamptz,
     deleting boolean not null default false,
     fail_reason text,
     -- When it is looked at again; null: when somebody asks for something.
     look_at timestamptz,
     looks integer not null default 0,
     version bigint not null default 1,
     created_at timestamptz not null default now(),
     updated_at timestamptz not null default now()
   ) with (fillfactor = 80)`,
  'create index instance_backup_group on instance_backup (group_id, ordinal)',
  'create index instance_backup_instance on instance_backup (instance_id, ordinal)',
  'create index instance_backup_target on instance_backup (target_id) where target_id is not null',
  'create index instance_backup_look on instance_backup (look_at) where look_at is not null',
]
