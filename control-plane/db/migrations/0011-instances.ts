import type { MigrationInterface, QueryRunner } from 'typeorm'

/** Containers of hosts: whose they are, and what their agents tell of them. */
export class Instances0011 implements MigrationInterface {
  readonly name = 'Instances0011_1700000000011'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  `create table instance (
     id uuid primary key,
     ordinal bigint generated always as identity unique,
     group_id uuid not null references user_group,
     host_id uuid not null references host,
     type text not null check (type in ('lxc', 'docker')),
     -- What its agent calls it; null until the job that makes it tells.
     ref text check (ref <> ''),
     name text not null,
     state text not null check (state in ('CREATING', 'RUNNING', 'STOPPED', 'FROZEN', 'OTHER')),
     mounts jsonb not null default '[]',
     config_hash text,
     -- The job that makes it, or makes it anew, until that has ended.
     job_id uuid,
     created_at timestamptz not null default now(),
     seen_at timestamptz,
     -- When a job left it as it is: what was listed before does not count.
     settled_at timestamptz,
     gone_at timestamptz,
     version bigint not null default 1,
     check ((ref is null) = (state = 'CREATING')),
     check (state <> 'CREATING' or (job_id is not null and gone_at is null))
   ) with (fillfactor = 80)`,
  'create unique index instance_ref on instance (host_id, type, ref) where gone_at is null and ref is not null',
  `create unique index instance_making on instance (host_id, type, name) where state = 'CREATING'`,
  'create index instance_host on instance (host_id, type, name)',
  'create index instance_group on instance (group_id, ordinal)',
  'create index instance_name on instance (group_id, name) where gone_at is null',
  'create index instance_group_ref on instance (group_id, ref) where gone_at is null',
  'create index instance_job on instance (job_id) where job_id is not null',

  // What hosts told of their instances last.
  `create table instance_list (
     host_id uuid primary key references host on delete cascade,
     -- Null: to be asked for again.
     hash text,
     folds bigint not null default 0,
     -- A replica asks for it since then.
     asked_at timestamptz,
     -- [{type, message}]
     problems jsonb not null default '[]'
   )`,
]
