import type { MigrationInterface, QueryRunner } from 'typeorm'

/** What lists of users, groups and tokens are asked by, beside names and ids. */
export class Directory0003 implements MigrationInterface {
  readonly name = 'Directory0003_1700000000003'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  'create index user_group_tags on user_group using gin (tags jsonb_path_ops)',
  'create index fleet_user_tags on fleet_user using gin (tags jsonb_path_ops)',
  'create index access_token_tags on access_token using gin (tags jsonb_path_ops)',
  'create index access_token_group on access_token (group_id)',
]
