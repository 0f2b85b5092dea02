import type { MigrationInterface, QueryRunner } from 'typeorm'

/** Where what retention deleted lies, and what is owed to bring it there or back. */
export class Trash0013 implements MigrationInterface {
  readonly name = 'Trash0013_1700000000013'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  `alter table point
     -- Told by an agent: it lies in its target's trash.
     add column in_trash boolean not null default false,
     -- Somebody wants it back; it is trashed until it stands in its series again.
     add column wanted_back boolean not null default false,
     -- When its move to the trash or back is ordered next; null when none is owed.
     add column move_at timestamptz,
     add column moves integer not null default 0,
     add check (trashed_at is not null or not (in_trash or wanted_back))`,
  'create index point_move on point (move_at) where move_at is not null',
  // What was deleted before there was a trash.
  `update point set move_at = now() where trashed_at is not null and not deleting and status <> 'failed'`,
]
