import type { MigrationInterface, QueryRunner } from 'typeorm'

/** Backups that are made again and again, what became of each, and restores by their names. */
export class Schedules0010 implements MigrationInterface {
  readonly name = 'Schedules0010_1700000000010'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const NOWHERE = `'00000000-0000-0000-0000-000000000000'::uuid`

const STATEMENTS = [
  `create table schedule (
     id uuid primary key,
     number bigint generated always as identity unique,
     group_id uuid not null references user_group,
     name text not null,
     type text not null check (type in ('dataset', 'path', 'lxc', 'docker')),
     container text not null,
     host text,
     target_id uuid references target,
     -- As it was given, and without its needless slashes.
     path text not null,
     directory text not null,
     -- json, not jsonb: it is shown as it was written
     at json not null,
     recurrence jsonb not null,
     timezone text not null,
     disabled boolean not null,
     retention integer not null check (retention = 0 or retention >= 2),
     features text[] not null,
     code text not null default 'init' check (code in ('init', 'scheduled', 'waiting', 'running', 'completed')),
     result smallint check (result in (0, -1, -2)),
     last_run timestamptz,
     -- Every due instant up to this one has its row in the ledger.
     ledger_at timestamptz not null,
     -- The first after it, and when it fires; null when it is disabled or over.
     next_due timestamptz,
     fire_at timestamptz,
     jitter_ms integer not null check (jitter_ms >= 0),
     -- The zones' rules that next_due was found by.
     zone_rules text not null,
     -- The oldest due instant since the last good run.
     unmet_at timestamptz,
     overdue boolean not null default false,
     version bigint not null default 1,
     created_at timestamptz not null default now(),
     updated_at timestamptz not null default now(),
     check ((next_due is null) = (fire_at is null))
   ) with (fillfactor = 70)`,
  `create unique index schedule_name on schedule (group_id, coalesce(target_id, ${NOWHERE}), directory, name)`,
  'create index schedule_target on schedule (target_id)',
  'create index schedule_fire on schedule (fire_at) where fire_at is not null',
  'create index schedule_ledger on schedule (ledger_at)',
  'create index schedule_rules on schedule (zone_rules)',
  `create index schedule_new on schedule (id) where code = 'init' and not disabled`,
  'create index schedule_unmet on schedule (unmet_at) where unmet_at is not null and not overdue',
  'create index schedule_overdue on schedule (id) where overdue',

  // The ledger. A row that is under way holds a place of its schedule, of which there is one.
  `create table schedule_run (
     id uuid primary key,
     ordinal bigint generated always as identity,
     schedule_id uuid not null references schedule on delete cascade,
     trigger text not null check (trigger in ('due', 'manual', 'early')),
     due_at timestamptz not null,
     -- Until when it may wait.
     expires_at timestamptz not null,
     state text not null check (state in ('waiting', 'granted', 'running', 'ended')),
     outcome text check (outcome in ('ran', 'late', 'missed', 'skipped', 'failed', 'stopped')),
     reason text,
     -- What its slots are counted for: a host ('' when nobody knows it), and a target's id or 'local'.
     host text not null,
     place text not null,
     job_id uuid,
     point_id uuid,
     verify_job_id uuid,
     stopped_by text,
     -- Until when some replica is at it, or leaves it alone.
     lease timestamptz,
     owes_prune boolean not null default false,
     fired_at timestamptz,
     ended_at timestamptz,
     check ((state = 'ended') = (outcome is not null)),
     check ((state = 'ended') = (ended_at is not null)),
     check (state <> 'running' or job_id is not null)
   ) with (fillfactor = 70)`,
  `create unique index schedule_run_due on schedule_run (schedule_id, due_at) where trigger = 'due'`,
  `create unique index schedule_run_active on schedule_run (schedule_id) where state <> 'ended'`,
  'create index schedule_run_newest on schedule_run (schedule_id, due_at, ordinal)',
  `create index schedule_run_waiting on schedule_run (host, place, due_at) where state = 'waiting'`,
  `create index schedule_run_expires on schedule_run (expires_at) where state in ('waiting', 'granted')`,
  `create index schedule_run_slots on schedule_run (host, place) where state in ('granted', 'running')`,
  `create index schedule_run_lease on schedule_run (lease) where state = 'granted'`,
  `create index schedule_run_running on schedule_run (id) where state = 'running'`,
  'create index schedule_run_prune on schedule_run (id) where owes_prune',
  'create index schedule_run_job on schedule_run (job_id)',
  'create index schedule_run_verify on schedule_run (verify_job_id)',

  `alter table point
     add column schedule_id uuid references schedule on delete set null,
     add column run_id uuid,
     -- Deleted by retention, and to be had back until purge_at.
     add column trashed_at timestamptz,
     add column purge_at timestamptz`,
  'create index point_schedule on point (schedule_id)',
  'create index point_trash on point (purge_at) where trashed_at is not null',
  'create index point_series_directory on point_series (group_id, directory)',

  // What is to be told to a webhook.
  `create table alert (
     id uuid primary key,
     body json not null,
     attempts integer not null default 0,
     next_at timestamptz not null default now(),
     delivered_at timestamptz,
     given_up_at timestamptz,
     error text,
     created_at timestamptz not null default now()
   )`,
  'create index alert_owed on alert (next_at) where delivered_at is null and given_up_at is null',
  'create index alert_age on alert (created_at)',

  `create table restore_task (
     id uuid primary key,
     number bigint generated always as identity unique,
     group_id uuid not null references user_group on delete cascade,
     name text not null,
     type text not null check (type in ('dataset', 'path', 'lxc', 'docker')),
     container text not null,
     host text,
     target_id uuid references target on delete cascade,
     path text not null,
     directory text not null,
     portfolio text not null,
     disabled boolean not null,
     code text not null default 'init' check (code in ('init', 'waiting', 'running', 'completed')),
     result smallint check (result in (0, -1, -2)),
     reason text,
     point_id uuid,
     job_id uuid,
     stopped_by text,
     lease timestamptz,
     expires_at timestamptz not null,
     started_at timestamptz,
     ended_at timestamptz,
     version bigint not null default 1,
     created_at timestamptz not null default now(),
     check ((code = 'completed') = (result is not null)),
     check (code <> 'running' or job_id is not null)
   ) with (fillfactor = 70)`,
  'create index restore_task_group on restore_task (group_id, number)',
  'create index restore_task_target on restore_task (target_id)',
  `create index restore_task_owed on restore_task (id) where code in ('init', 'waiting') and not disabled`,
  `create index restore_task_running on restore_task (id) where code = 'running'`,
  'create index restore_task_job on restore_task (job_id)',
]
