import type { MigrationInterface, QueryRunner } from 'typeorm'

/** Who may be a host, and by which key. */
export class Enrolment0006 implements MigrationInterface {
  readonly name = 'Enrolment0006_1700000000006'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  // A host that was removed keeps its row: jobs tell where they ran.
  `alter table host
    -- what secrets are sealed to on their way there
    add column seal_public_key bytea check (length(seal_public_key) = 32),
    add column removed_at timestamptz`,
  'create index host_removed on host (id) where removed_at is not null',

  // One-time tokens. Used ones stay until they expire: whose answer was lost may ask again, with the same keys.
  `create table host_enrolment (
    id uuid primary key,
    name text not null,
    hash bytea not null unique check (length(hash) = 32),
    created_by text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at timestamptz,
    public_key text,
    seal_public_key bytea check (length(seal_public_key) = 32),
    check ((used_at is null) = (public_key is null) and (used_at is null) = (seal_public_key is null))
  )`,
  'create index host_enrolment_expiry on host_enrolment (expires_at)',

  // The keys that NATS is to let in as this host: one in use, and one more while it changes over.
  `create table host_credential (
    public_key text primary key,
    host_id uuid not null references host,
    issued_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null,
    used_at timestamptz
  )`,
  'create index host_credential_host on host_credential (host_id)',

  // Keys that NATS must turn away until the last credential they may have has ended by itself.
  `create table nats_revocation (
    public_key text primary key,
    expires_at timestamptz not null
  )`,
  'create index nats_revocation_expiry on nats_revocation (expires_at)',
]
