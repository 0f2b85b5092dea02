import type { MigrationInterface, QueryRunner } from 'typeorm'

/** Instances on their way to another host. */
export class InstanceMoves0015 implements MigrationInterface {
  readonly name = 'InstanceMoves0015_1700000000015'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  `create table instance_move (
     id uuid primary key,
     number bigint generated always as identity unique,
     group_id uuid not null references user_group on delete cascade,
     -- As they were called when it was asked for: it is told also when they are gone.
     instance_id uuid not null,
     type text not null check (type in ('lxc', 'docker')),
     name text not null,
     from_host text not null,
     to_host text not null,
     to_pool text,
     target_id uuid references target on delete set null,
     -- Whether it is started there; null: if it ran here.
     start boolean,
     was_running boolean,
     phase text not null default 'copy'
       check (phase in ('copy', 'precopy', 'stop', 'final', 'switch', 'restart', 'discard', 'tidy', 'ended')),
     -- Of this phase, and of this try at it: who places an order for another finds nothing.
     step_id uuid not null,
     job_id uuid,
     outcome text check (outcome in ('moved', 'failed', 'cancelled')),
     reason text,
     -- What it waits for just now.
     waiting text,
     base_point_id uuid,
     final_point_id uuid,
     dataset_id uuid,
     made_instance_id uuid,
     -- An order to make it there has ended without its host telling how.
     unsure boolean not null default false,
     asked_by text not null,
     stopped_by text,
     tries integer not null default 0,
     lease timestamptz,
     -- When the order to stop it was placed, and when it ran again, here or there.
     down_at timestamptz,
     up_at timestamptz,
     created_at timestamptz not null default now(),
     ended_at timestamptz,
     version bigint not null default 1,
     check ((phase = 'ended') = (ended_at is not null)),
     check (ended_at is null or (outcome is not null and job_id is null))
   ) with (fillfactor = 70)`,
  'create index instance_move_group on instance_move (group_id, number)',
  'create index instance_move_target on instance_move (target_id)',
  'create unique index instance_move_open on instance_move (instance_id) where ended_at is null',
  'create unique index instance_move_step on instance_move (step_id)',

  // The host that it went to, which leaves the original here, stopped.
  'alter table instance add column moved_to text',
]
