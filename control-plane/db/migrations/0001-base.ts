import type { MigrationInterface, QueryRunner } from 'typeorm'

/** The base of the fleet: who, where, what, and the work that is owed. */
export class Base0001 implements MigrationInterface {
  readonly name = 'Base0001_1700000000001'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  // btree_gist lets one exclusion constraint cover "same lane" (uuid =) and "overlapping claim" (range &&).
  'create extension if not exists btree_gist',

  `create table user_group (
    id uuid primary key,
    name text not null unique,
    created_at timestamptz not null default now()
  )`,
  `insert into user_group (id, name) values ('00000000-0000-7000-8000-000000000001', 'default')`,

  `create table access_token (
    id uuid primary key,
    group_id uuid not null references user_group,
    name text not null,
    hash bytea not null unique check (length(hash) = 32),
    role text not null check (role in ('viewer', 'operator', 'admin')),
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    unique (group_id, name)
  )`,

  `create table host (
    id uuid primary key,
    name text not null unique,
    state text not null check (state in ('online', 'offline')),
    draining boolean not null default false,
    version text not null,
    slots integer not null check (slots > 0),
    restore_paths jsonb not null,
    inventory_hash text not null,
    enrolled_at timestamptz not null default now(),
    last_seen_at timestamptz
  ) with (fillfactor = 70)`,

  `create table pool (
    id uuid primary key,
    host_id uuid not null references host on delete cascade,
    name text not null unique,
    local_name text not null,
    driver text not null,
    capabilities jsonb not null,
    size_bytes bigint not null,
    free_bytes bigint not null,
    present boolean not null default true,
    unique (host_id, local_name)
  ) with (fillfactor = 70)`,

  'create sequence dataset_ordinal as bigint start with 1',
  `create table dataset (
    id uuid primary key,
    ordinal bigint not null default nextval('dataset_ordinal'),
    group_id uuid not null references user_group,
    pool_id uuid not null references pool,
    kind text not null check (kind in ('filesystem', 'volume')),
    name text not null,
    is_snapshot boolean not null,
    readonly boolean not null,
    origin_id uuid,
    origin_ordinal bigint,
    state text not null check (state in ('creating', 'available', 'deleting')),
    root_inode bigint not null default 0,
    mountpoint text not null default '',
    consistency text not null default 'crash' check (consistency in ('crash', 'fuzzy')),
    tags jsonb not null default '{}',
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    unique (group_id, name),
    -- Not (group_id, ordinal): look-ups by name must have one index to choose from, also while tables are empty.
    unique (ordinal, group_id),
    check (not is_snapshot or origin_id is not null)
  ) with (fillfactor = 70)`,
  'create index dataset_pool on dataset (pool_id)',
  'create index dataset_origin on dataset (origin_id) where origin_id is not null',

  `create table job (
    id uuid primary key,
    ordinal bigint generated always as identity,
    group_id uuid not null references user_group,
    host_id uuid not null references host,
    kind text not null,
    request jsonb not null,
    spec jsonb not null,
    dataset_id uuid,
    dataset_name text,
    state text not null check (state in ('queued', 'dispatched', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled')),
    attempt integer not null default 1 check (attempt between 1 and 6),
    not_after timestamptz,
    withdrawn boolean not null default false,
    heard_delivery integer not null default 0,
    heard_seq integer not null default 0,
    heard_at timestamptz not null default now(),
    announced boolean not null default false,
    progress jsonb,
    phases jsonb not null default '[]',
    result jsonb,
    error jsonb,
    retry_of uuid,
    created_by text not null,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    check ((finished_at is not null) = (state in ('succeeded', 'failed', 'cancelled')))
  ) with (fillfactor = 70)`,
  'create index job_group on job (group_id, ordinal)',
  'create index job_host on job (host_id, ordinal)',
  'create index job_dataset on job (dataset_id, ordinal)',
  // The sweeps read only what is alive or unannounced, however many old jobs there are.
  `create index job_active on job (state, ordinal) where state in ('queued', 'dispatched', 'running', 'cancelling')`,
  'create index job_unannounced on job (ordinal) where not announced',

  // What each unfinished job wants of each lane, in order of arrival. A granted exclusive claim covers the whole line, a
  // granted shared one only its own point, so the database itself refuses two that must not be granted together.
  `create table lane_hold (
    lane uuid not null,
    job_id uuid not null references job on delete cascade,
    job_ordinal bigint not null,
    exclusive boolean not null,
    granted boolean not null,
    span int8range not null generated always as
      (case when exclusive then '(,)'::int8range else int8range(job_ordinal, job_ordinal, '[]') end) stored,
    primary key (lane, job_id),
    constraint lane_hold_granted_once exclude using gist (lane with =, span with &&) where (granted)
  )`,
  'create index lane_hold_job on lane_hold (job_id)',
  'create index lane_hold_waiting on lane_hold (job_id) where not granted',

  // The feed. Its one head row is the lock that gives out numbers: held to commit, so readers never pass a late row.
  `create table event_head (
    one boolean primary key default true check (one),
    seq bigint not null,
    pruned_seq bigint not null
  ) with (fillfactor = 10)`,
  'insert into event_head (seq, pruned_seq) values (0, 0)',
  `create table event (
    seq bigint primary key,
    type text not null,
    job_id uuid,
    group_id uuid,
    -- json, not jsonb: it is only ever sent as it was written
    body json not null,
    at timestamptz not null default now()
  )`,
  `create index event_progress on event (job_id) where type = 'job.progress'`,
]
