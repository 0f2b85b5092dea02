import type { MigrationInterface, QueryRunner } from 'typeorm'

/** Where archives go, and the archives. */
export class Points0009 implements MigrationInterface {
  readonly name = 'Points0009_1700000000009'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  `create table target (
     id uuid primary key,
     number bigint generated always as identity unique,
     group_id uuid not null references user_group,
     name text not null,
     description text not null,
     config jsonb not null,
     secret_id uuid references secret,
     recipients jsonb not null default '[]',
     has_identity boolean not null default false,
     version bigint not null default 1,
     created_at timestamptz not null default now(),
     updated_at timestamptz not null default now(),
     unique (group_id, name)
   )`,
  // A directory of a target; without one, of a host's backup root. The id is made of the other columns, so that those who make it
  // at the same time make the same.
  `create table point_series (
     id uuid primary key,
     group_id uuid not null references user_group,
     target_id uuid references target,
     host_id uuid references host,
     directory text not null,
     check ((target_id is null) <> (host_id is null))
   )`,
  `create table point (
     id uuid primary key,
     ordinal bigint generated always as identity unique,
     group_id uuid not null references user_group,
     series_id uuid not null references point_series,
     -- The host that made it.
     host_id uuid not null references host,
     name text not null,
     source jsonb not null,
     dataset_id uuid,
     status text not null check (status in ('running', 'good', 'partial', 'failed')),
     deleting boolean not null default false,
     pinned boolean not null default false,
     -- The last of the chain: it cannot go before this one.
     base_id uuid references point,
     chain uuid[] not null default '{}',
     full_reason text,
     made jsonb,
     error jsonb,
     stored_bytes bigint not null default 0,
     source_bytes bigint not null default 0,
     damaged_at timestamptz,
     damage jsonb,
     verified_at timestamptz,
     rehearsed_at timestamptz,
     recovery_seconds double precision,
     job_id uuid not null unique,
     version bigint not null default 1,
     created_at timestamptz not null default now(),
     finished_at timestamptz,
     unique (series_id, name)
   ) with (fillfactor = 70)`,
  'create index point_group on point (group_id, ordinal)',
  'create index point_base on point (base_id)',
  'create index point_host on point (host_id)',
  'create index point_dataset on point (dataset_id)',
  'create index point_series_group on point_series (group_id)',
  'create index point_series_target on point_series (target_id)',
  'create index point_series_host on point_series (host_id)',
  `alter table host
     add column source_paths jsonb not null default '[]',
     add column backup_root text`,
]
