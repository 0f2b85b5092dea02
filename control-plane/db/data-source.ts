import { DataSource } from 'typeorm'
import { FleetError } from '../../shared/errors.ts'
import { ADVISORY_LOCKS } from './advisory-locks.ts'
import { HostEntity } from './entities/host.ts'
import { PoolEntity } from './entities/pool.ts'
import { TokenEntity } from './entities/token.ts'
import { Base0001 } from './migrations/0001-base.ts'
import { Identity0002 } from './migrations/0002-identity.ts'
import { Directory0003 } from './migrations/0003-directory.ts'
import { Access0004 } from './migrations/0004-access.ts'
import { Idempotency0005 } from './migrations/0005-idempotency.ts'
import { Enrolment0006 } from './migrations/0006-enrolment.ts'
import { Trust0007 } from './migrations/0007-trust.ts'
import { Revocation0008 } from './migrations/0008-revocation.ts'
import { Points0009 } from './migrations/0009-points.ts'
import { Schedules0010 } from './migrations/0010-schedules.ts'
import { Instances0011 } from './migrations/0011-instances.ts'
import { InstancePoints0012 } from './migrations/0012-instance-points.ts'
import { Trash0013 } from './migrations/0013-trash.ts'
import { Station0014 } from './migrations/0014-station.ts'
import { InstanceMoves0015 } from './migrations/0015-instance-moves.ts'
import { Volumes0016 } from './migrations/0016-volumes.ts'
import { VolumeBackups0017 } from './migrations/0017-volume-backups.ts'
import { Block0018 } from './migrations/0018-block.ts'
import { InstanceCaptures0019 } from './migrations/0019-instance-captures.ts'
import { LunLoans0020 } from './migrations/0020-lun-loans.ts'
import { Attachments0021 } from './migrations/0021-attachments.ts'
import { JobRetention0022 } from './migrations/0022-job-retention.ts'
import { Domains0023 } from './migrations/0023-domains.ts'

const CONNECT_TIMEOUT_MS = 10_000
const KEEP_ALIVE_MS = 10_000
const MIGRATION_WAIT_MS = 60_000

/** Stands while a database is being restored: no control plane starts on one that is half there. */
export const RESTORING = 'station_restoring'

/** The order in which migrations run. A released one never changes. */
const MIGRATIONS = [
  Base0001,
  Identity0002,
  Directory0003,
  Access0004,
  Idempotency0005,
  Enrolment0006,
  Trust0007,
  Revocation0008,
  Points0009,
  Schedules0010,
  Instances0011,
  InstancePoints0012,
  Trash0013,
  Station0014,
  InstanceMoves0015,
  Volumes0016,
  VolumeBackups0017,
  Block0018,
  InstanceCaptures0019,
  LunLoans0020,
  Attachments0021,
  JobRetention0022,
  Domains0023,
]

/**
 * Every statement of ours finds its few rows by an index. Plans are made once per connection, also while tables are still
 * empty and nothing is known about them; these settings keep such a plan right when the tables have grown.
 */
const SESSION = {
  enable_seqscan: 'off',
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
  plan_cache_mode: 'force_generic_plan',
  jit: 'off',
  // A replica that is frozen or cut off must not keep its locks.
  idle_in_transaction_session_timeout: '10s',
  tcp_keepalives_idle: '10',
  tcp_user_timeout: '20s',
} as const

/** Names of all migrations that this version has, in their order. */
export function knownMigrations(): readonly string[] {
  return MIGRATIONS.map((Migration) => new Migration().name)
}

export function createDataSource(options: {
  readonly url: string
  readonly poolSize: number
  /** Names of the migrations to run; default: all. */
  readonly only?: readonly string[] | undefined
}): DataSource {
  const { only } = options
  const migrations = only === undefined ? MIGRATIONS : MIGRATIONS.filter((Each) => only.includes(new Each().name))
  return new DataSource({
    type: 'postgres',
    url: options.url,
    poolSize: options.poolSize,
    entities: [HostEntity, PoolEntity, TokenEntity],
    migrations,
    migrationsTableName: 'schema_migration',
    synchronize: false,
    // TypeORM's own error log prints parameters, and those can be secrets.
    logging: false,
    applicationName: 'holdfast',
    extra: {
      pipeline: true,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
      options: Object.entries(SESSION)
        .map(([name, value]) => `-c ${name}=${value}`)
        .join(' '),
    },
  })
}

/** @throws FleetError conflict where a restore of the station has not come to its end. */
export async function requireRestored(db: DataSource): Promise<void> {
  const [row] = await db.query(`select to_regclass('public.${RESTORING}') is not null as restoring`)
  if (!row.restoring) return
  throw new FleetError(
    'conflict',
    'the database was not restored to its end: restore the station into another, empty one',
  )
}

/** Brings the schema up to date; replicas that start together take turns. */
export async function migrate(db: DataSource): Promise<void> {
  const runner = db.createQueryRunner()
  try {
    await runner.query(`set lock_timeout = ${MIGRATION_WAIT_MS}`)
    await runner.query('select pg_advisory_lock($1)', [ADVISORY_LOCKS.migration])
    await db.runMigrations({ transaction: 'each' })
  } finally {
    await runner.query('select pg_advisory_unlock($1)', [ADVISORY_LOCKS.migration])
    await runner.query('reset lock_timeout')
    await runner.release()
  }
}
