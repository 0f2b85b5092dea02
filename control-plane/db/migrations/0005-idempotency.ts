import type { MigrationInterface, QueryRunner } from 'typeorm'

/** Keys by which clients make repeats harmless. */
export class Idempotency0005 implements MigrationInterface {
  readonly name = 'Idempotency0005_1700000000005'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  `create table idempotency_key (
    -- of the key, and of the caller, group, method and path that it is scoped to
    hash bytea primary key check (length(hash) = 32),
    -- of the query and the body
    fingerprint bytea not null check (length(fingerprint) = 32),
    holder uuid not null,
    held_until timestamptz not null,
    -- by number within the request: the job, and the dataset it makes as it stood then
    placed jsonb not null default '{}',
    -- json, not jsonb: members keep their sequence. Null while there is no answer yet
    answer json,
    created_at timestamptz not null default now()
  ) with (fillfactor = 50)`,
  'create index idempotency_key_age on idempotency_key (created_at)',
  'create index idempotency_key_holder on idempotency_key (holder) where answer is null',
]
