import type { MigrationInterface, QueryRunner } from 'typeorm'

/** Volumes of pools, their snapshots, and their exports. */
export class Volumes0016 implements MigrationInterface {
  readonly name = 'Volumes0016_1700000000016'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  `create table volume (
     id uuid primary key,
     group_id uuid not null references user_group,
     pool_id uuid not null references pool,
     -- What clients call it: the pool's name in the fleet, '/', and what it is called below that.
     path text not null,
     -- Of its place on its host, whatever row has it.
     lane uuid not null,
     size_bytes bigint not null default 0,
     state text not null check (state in ('creating', 'available', 'deleting')),
     device text,
     guid text,
     -- '<path>@<snapshot>', as it was called when this was cloned.
     origin text,
     origin_volume text generated always as (split_part(origin, '@', 1)) stored,
     created_at timestamptz not null default now(),
     version bigint not null default 1
   ) with (fillfactor = 70)`,
  // One that goes leaves its name to the next, which waits for it.
  `create unique index volume_path on volume (path) where state <> 'deleting'`,
  'create index volume_any_path on volume (path)',
  'create index volume_group on volume (group_id, path)',
  'create index volume_pool on volume (pool_id)',
  'create index volume_lane on volume (lane)',
  'create index volume_origin on volume (origin_volume) where origin_volume is not null',

  `create table volume_snapshot (
     id uuid primary key,
     group_id uuid not null references user_group,
     volume_id uuid not null references volume on delete cascade,
     name text not null,
     path text not null,
     size_bytes bigint not null default 0,
     guid text,
     state text not null check (state in ('creating', 'available', 'deleting')),
     created_at timestamptz not null default now(),
     version bigint not null default 1
   )`,
  `create unique index volume_snapshot_path on volume_snapshot (path) where state <> 'deleting'`,
  'create index volume_snapshot_any_path on volume_snapshot (path)',
  'create index volume_snapshot_volume on volume_snapshot (volume_id, name)',
  'create index volume_snapshot_group on volume_snapshot (group_id)',

  `create table export (
     id uuid primary key,
     group_id uuid not null references user_group,
     pool_id uuid not null references pool,
     wwn text not null check (wwn = lower(wwn)),
     -- A volume's path; that may be one which has no row.
     volume text not null,
     initiators jsonb not null,
     chap_user text,
     -- A JSON map of secrets by wwn, which exports that were made together share.
     secret_id uuid references secret,
     state text not null check (state in ('creating', 'available', 'deleting')),
     created_at timestamptz not null default now(),
     version bigint not null default 1
   ) with (fillfactor = 70)`,
  `create unique index export_wwn on export (wwn) where state <> 'deleting'`,
  'create index export_any_wwn on export (wwn)',
  'create index export_group on export (group_id, wwn)',
  'create index export_pool on export (pool_id)',
  'create index export_volume on export (volume)',
  'create index export_secret on export (secret_id) where secret_id is not null',

  // A list of exports that somebody asked for, and what of it was clear before any host was asked.
  `create table export_batch (
     id uuid primary key,
     group_id uuid not null references user_group on delete cascade,
     type text not null check (type in ('create', 'delete')),
     requested integer not null,
     -- [{n, volume}]
     done jsonb not null,
     -- [{n, code, message}]
     errors jsonb not null,
     created_by text not null,
     created_at timestamptz not null default now()
   )`,
  'create index export_batch_group on export_batch (group_id)',
  `create table export_batch_job (
     job_id uuid primary key references job on delete cascade,
     batch_id uuid not null references export_batch on delete cascade,
     elements integer not null,
     -- Until the job has ended: what is sealed beside its order.
     secret_id uuid references secret
   )`,
  'create index export_batch_job_batch on export_batch_job (batch_id)',
  'create index export_batch_job_secret on export_batch_job (secret_id) where secret_id is not null',

  // Hosts that were told to export what Postgres says.
  `create table export_reconcile (
     host_id uuid primary key references host on delete cascade,
     tries integer not null,
     next_at timestamptz not null
   )`,
]
