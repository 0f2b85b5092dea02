import type { MigrationInterface, QueryRunner } from 'typeorm'

/** What clients of the block API say about volumes and snapshots, and who has a volume. */
export class Block0018 implements MigrationInterface {
  readonly name = 'Block0018_1700000000018'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  // Beside the volume of that id. Without one it tells of a volume that could not be made, until somebody deletes it.
  `create table block_volume (
     id uuid primary key,
     group_id uuid not null references user_group on delete cascade,
     -- As it was when the volume was asked for.
     path text not null,
     host text not null,
     pool text not null,
     size_bytes bigint not null,
     name text,
     description text,
     metadata jsonb not null default '{}',
     snapshot_id uuid,
     source_volume_id uuid,
     backup_id uuid,
     is_bootable boolean not null default false,
     is_readonly boolean not null default false,
     -- Where its clients are with attaching or detaching it.
     phase text check (phase in ('attaching', 'detaching')),
     -- Nobody attaches it meanwhile: it is about to be ordered.
     claim text check (claim in ('deleting', 'reverting')),
     claimed_until timestamptz,
     delete_job_id uuid,
     created_at timestamptz not null default now(),
     updated_at timestamptz,
     version bigint not null default 1
   ) with (fillfactor = 70)`,
  'create index block_volume_group on block_volume (group_id, created_at, id)',
  'create index block_volume_time on block_volume (created_at, id)',

  `create table block_snapshot (
     id uuid primary key,
     group_id uuid not null references user_group on delete cascade,
     volume_id uuid not null,
     path text not null,
     size_bytes bigint not null,
     name text,
     description text,
     metadata jsonb not null default '{}',
     delete_job_id uuid,
     created_at timestamptz not null default now(),
     updated_at timestamptz,
     version bigint not null default 1
   )`,
  'create index block_snapshot_group on block_snapshot (group_id, created_at, id)',
  'create index block_snapshot_time on block_snapshot (created_at, id)',
  'create index block_snapshot_volume on block_snapshot (volume_id)',

  `create table volume_attachment (
     id uuid primary key,
     volume_id uuid not null references volume on delete cascade,
     -- Of a server: one of our instances, or anybody's.
     instance_id uuid,
     host_name text,
     mountpoint text,
     mode text not null check (mode in ('rw', 'ro')),
     attached_at timestamptz not null default now()
   )`,
  'create index volume_attachment_volume on volume_attachment (volume_id)',
  'create index volume_attachment_instance on volume_attachment (instance_id) where instance_id is not null',

  'create index volume_group_time on volume (group_id, created_at, id)',
  'create index volume_time on volume (created_at, id)',
  'create index volume_snapshot_group_time on volume_snapshot (group_id, created_at, id)',
  'create index volume_snapshot_time on volume_snapshot (created_at, id)',

  // Whoever takes the row of a volume away: what could not be made (nobody has ever seen it, and nobody wanted it gone) stays to be told of.
  `create function volume_is_gone() returns trigger language plpgsql as $$
   begin
     if old.guid is not null or old.state = 'deleting' then
       delete from block_volume where id = old.id;
     end if;
     delete from block_snapshot where volume_id = old.id;
     return null;
   end $$`,
  'create trigger volume_gone after delete on volume for each row execute function volume_is_gone()',
  `create function volume_snapshot_is_gone() returns trigger language plpgsql as $$
   begin
     if old.guid is not null or old.state = 'deleting' then
       delete from block_snapshot where id = old.id;
     end if;
     return null;
   end $$`,
  'create trigger volume_snapshot_gone after delete on volume_snapshot for each row execute function volume_snapshot_is_gone()',
]
