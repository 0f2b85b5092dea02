import type { MigrationInterface, QueryRunner } from 'typeorm'

/** Attachments of volumes as resources of their own, and exports that nobody may write to. */
export class Attachments0021 implements MigrationInterface {
  readonly name = 'Attachments0021_1700000000021'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  // Kept for a server, connected, or in use there.
  `alter table volume_attachment
     add column state text not null default 'attached' check (state in ('reserved', 'attaching', 'attached')),
     -- Noted before its export is made.
     add column initiator text,
     -- Where it was told to log in: {targetIqn, portal, lun, chapUser}
     add column connection jsonb,
     add column created_at timestamptz not null default now(),
     alter column attached_at drop not null,
     alter column attached_at drop default`,
  'update volume_attachment set created_at = attached_at',
  'create index volume_attachment_time on volume_attachment (created_at, id)',
  'alter table export add column is_readonly boolean not null default false',
]
