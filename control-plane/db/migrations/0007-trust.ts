import type { MigrationInterface, QueryRunner } from 'typeorm'

/** The audit with its chain, and secrets that are sealed at rest. */
export class Trust0007 implements MigrationInterface {
  readonly name = 'Trust0007_1700000000007'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  // No foreign keys: what is told of may be gone, the row stays.
  `create table audit (
    ordinal bigint primary key generated always as identity,
    at timestamptz not null default now(),
    subject text not null,
    user_id uuid,
    group_id uuid,
    via text,
    address text,
    request_id text,
    method text,
    path text,
    operation text not null,
    object_kind text,
    object_id text,
    object_name text,
    result text not null check (result in ('accepted', 'done', 'refused', 'failed')),
    code text,
    job_id uuid,
    detail jsonb,
    -- The claimer's; nulls are found by the same index.
    chain_seq bigint unique,
    hash bytea check (length(hash) = 32),
    check ((chain_seq is null) = (hash is null))
  )`,
  'create index audit_group on audit (group_id, ordinal)',

  // Rows are written once and linked once. Checked without running code where possible: links are written by the thousand.
  `create function audit_is_append_only() returns trigger language plpgsql as
    $$ begin raise exception 'the audit is append-only' using errcode = 'restrict_violation'; end $$`,
  `create trigger audit_unchanged
    before update of ordinal, at, subject, user_id, group_id, via, address, request_id, method, path, operation, object_kind,
      object_id, object_name, result, code, job_id, detail or delete or truncate on audit
    for each statement execute function audit_is_append_only()`,
  `create trigger audit_linked_once
    before update on audit
    for each row when (old.chain_seq is not null) execute function audit_is_append_only()`,

  // The last link. Whoever holds this row is the claimer. The mark is made with the secrets key, which Postgres never sees.
  `create table audit_head (
    one boolean primary key default true check (one),
    seq bigint not null,
    hash bytea not null check (length(hash) = 32),
    mark bytea,
    key_id text
  ) with (fillfactor = 10)`,
  `insert into audit_head (seq, hash) values (0, decode(repeat('00', 32), 'hex'))`,

  `create table secret (
    id uuid primary key,
    -- null for what belongs to the fleet
    group_id uuid references user_group on delete cascade,
    kind text not null,
    sealed bytea not null,
    -- which key opens it, as the sealed bytes say too
    key_id text not null,
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
  )`,
  'create index secret_key on secret (key_id, id)',
  'create index secret_group on secret (group_id)',
]
