import type { ParseArgsOptionsConfig } from 'node:util'
import { z } from 'zod'
import { readConfig } from '../../shared/config.ts'
import { FleetError } from '../../shared/errors.ts'
import { ControlPlaneConfig } from '../config.ts'
import { createDataSource, migrate } from '../db/data-source.ts'
import { createSql, type Sql } from '../db/sql.ts'

/** One thing that an operator may ask of the command line. */
export interface Command {
  /** Its options, for the help: `--name NAME`. */
  readonly usage: string
  readonly summary: string
  readonly options: ParseArgsOptionsConfig
  /** What it exits with when it throws; 1 when absent. */
  readonly exitCodeOfErrors?: number
  /** @returns the exit code. @throws FleetError, ConfigError: told without a stack. */
  run(context: CommandContext): Promise<number>
}

export interface CommandContext {
  readonly options: Readonly<Record<string, unknown>>
  readonly environment: NodeJS.ProcessEnv
  /** To standard output. */
  readonly say: (line: string) => void
}

const CONNECTIONS = 2

/** The fleet's own database, brought up to date, for as long as `work` takes. */
export async function withDatabase<Result>(
  environment: NodeJS.ProcessEnv,
  work: (sql: Sql) => Promise<Result>,
): Promise<Result> {
  const { DATABASE_URL: url } = readConfig(
    z.object({ DATABASE_URL: ControlPlaneConfig.shape.DATABASE_URL }),
    environment,
  )
  const db = createDataSource({ url, poolSize: CONNECTIONS })
  await db.initialize().catch((cause: unknown) => {
    throw new FleetError('unavailable', 'the database of DATABASE_URL cannot be reached', { cause })
  })
  try {
    await migrate(db)
    return await work(createSql(db))
  } finally {
    await db.destroy()
  }
}
