import type { MigrationInterface, QueryRunner } from 'typeorm'

/** Users, their roles, and everything that proves who somebody is. */
export class Identity0002 implements MigrationInterface {
  readonly name = 'Identity0002_1700000000002'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

/** Ids of 24 hex digits, as document stores have them: the time part of the uuid and its last random part. */
const DOCUMENT_ID = `text not null unique generated always as
      (left(replace(id::text, '-', ''), 12) || right(replace(id::text, '-', ''), 12)) stored`

const ROLE = `check (role in ('viewer', 'operator', 'admin'))`

const STATEMENTS = [
  `alter table user_group
    add column document_id ${DOCUMENT_ID},
    add column tags jsonb not null default '{}',
    add column version bigint not null default 1,
    add column updated_at timestamptz not null default now()`,

  `create table fleet_user (
    id uuid primary key,
    document_id ${DOCUMENT_ID},
    name text not null unique,
    -- argon2id, in PHC format; null for users who never use a password
    password text,
    -- granted over the whole fleet
    role text ${ROLE},
    disabled boolean not null default false,
    tags jsonb not null default '{}',
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
  )`,

  // Which client certificates stand for a user: 'subject:CN=alice,O=example', 'email:alice@example.com', 'uri:…', 'dns:…'
  `create table user_certificate (
    name text primary key,
    user_id uuid not null references fleet_user on delete cascade
  )`,
  'create index user_certificate_user on user_certificate (user_id)',

  `create table membership (
    group_id uuid not null references user_group on delete cascade,
    user_id uuid not null references fleet_user on delete cascade,
    role text not null ${ROLE},
    created_at timestamptz not null default now(),
    primary key (group_id, user_id)
  )`,
  'create index membership_user on membership (user_id)',

  // A token with an owner can do at most what its owner can, at most as its role; one without is a service's.
  // Without a group it is for every group its owner may act for, or, without an owner, for the whole fleet.
  `alter table access_token
    alter column group_id drop not null,
    drop constraint access_token_group_id_name_key,
    add column document_id ${DOCUMENT_ID},
    add column user_id uuid references fleet_user on delete cascade,
    add column tags jsonb not null default '{}',
    add column version bigint not null default 1,
    add column updated_at timestamptz not null default now(),
    add column last_used_at timestamptz,
    add unique nulls not distinct (user_id, group_id, name)`,
  `update access_token set group_id = null where name = 'admin'`,

  `create table session (
    hash bytea primary key check (length(hash) = 32),
    user_id uuid not null references fleet_user on delete cascade,
    created_at timestamptz not null default now(),
    used_at timestamptz not null default now(),
    expires_at timestamptz not null
  )`,
  'create index session_of_user on session (user_id)',
  'create index session_expiry on session (expires_at)',
]
