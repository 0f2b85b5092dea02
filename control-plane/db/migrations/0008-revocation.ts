import type { MigrationInterface, QueryRunner } from 'typeorm'

/** Whose key it was that nobody may use any more: how many one host may leave behind is bounded. */
export class Revocation0008 implements MigrationInterface {
  readonly name = 'Revocation0008_1700000000008'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  'alter table nats_revocation add column host_id uuid references host',
  'create index nats_revocation_host on nats_revocation (host_id, expires_at)',
]
