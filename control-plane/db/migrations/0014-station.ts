import type { MigrationInterface, QueryRunner } from 'typeorm'

/** The station itself: what it is known by, and the backups of its own database. */
export class Station0014 implements MigrationInterface {
  readonly name = 'Station0014_1700000000014'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  `create table station (
     one boolean primary key default true check (one),
     -- Its backups carry it in their names, so that two stations may share a directory.
     id uuid not null default gen_random_uuid(),
     -- A due backup is missing, and that was told.
     backup_overdue boolean not null default false,
     -- Of its last restore; orders that NATS still holds from before are dropped first.
     restored_at timestamptz,
     owes_purge boolean not null default false
   )`,
  'insert into station default values',
  `create table station_backup (
     id uuid primary key,
     ordinal bigint generated always as identity unique,
     trigger text not null check (trigger in ('due', 'asked')),
     state text not null check (state in ('running', 'good', 'failed')),
     asked_by text not null,
     -- Whose run it is ends when this is past.
     lease timestamptz not null,
     started_at timestamptz not null default now(),
     ended_at timestamptz,
     file text,
     stored_bytes bigint,
     sha256 text,
     encrypted boolean,
     keys boolean,
     reason text,
     -- When it made way for newer ones.
     evicted_at timestamptz,
     check ((state = 'running') = (ended_at is null)),
     check ((state = 'good') = (file is not null))
   )`,
  `create unique index station_backup_running on station_backup (state) where state = 'running'`,
  `create index station_backup_good on station_backup (started_at) where state = 'good'`,
]
