import type { MigrationInterface, QueryRunner } from 'typeorm'

/** What replicas must hear of rights, what limits guessing, and lists of every tenant's jobs. */
export class Access0004 implements MigrationInterface {
  readonly name = 'Access0004_1700000000004'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

/** Row triggers: a statement that touched nothing tells nobody. Postgres sends equal notifications of one transaction once. */
function tell(table: string, events: string, when = ''): string {
  return `create trigger ${table}_tells_access after ${events} on ${table} for each row ${when} execute function tell_access()`
}

const STATEMENTS = [
  // Whoever writes, and by whatever means: every replica drops what it remembers of rights.
  `create function tell_access() returns trigger language plpgsql as $$
  begin
    perform pg_notify('holdfast_access', tg_table_name);
    return null;
  end
  $$`,
  tell('user_group', 'insert or delete or update of name'),
  tell('fleet_user', 'delete or update of name, role, disabled'),
  tell('membership', 'insert or delete or update'),
  tell('access_token', 'delete or update of name, hash, role, group_id, user_id, expires_at'),
  tell('user_certificate', 'insert or delete or update'),
  // Not for those that the clean-up removes: they are expired, which everybody knows already.
  tell('session', 'delete', 'when (old.expires_at > now())'),

  // Failed logins of the last minute, by a hash of what is limited: an account from an address, or an address.
  `create table login_failure (
    key bytea primary key check (length(key) = 32),
    failed_at timestamptz[] not null,
    expires_at timestamptz not null
  )`,
  'create index login_failure_expiry on login_failure (expires_at)',

  // Those with a role over the fleet list the jobs of every group.
  'create index job_ordinal on job (ordinal)',
]
