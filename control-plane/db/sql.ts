import type { Pool, PoolClient, QueryResult } from 'pg'
import type { DataSource } from 'typeorm'
import type { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'

/**
 * SQL that Postgres plans once per connection: the name is its identity there, so one name always means one text. Texts that
 * are put together for one request have the name `''`: they are planned each time, and forgotten.
 */
export interface Statement<Row extends z.ZodType> {
  readonly name: string
  readonly text: string
  readonly row: Row
  /** Rows that are not as they should be are left out and told of; without, none of the others is had either. */
  readonly leavesOdd?: true
}

export function statement<Row extends z.ZodType>(name: string, row: Row, text: string): Statement<Row> {
  return { name, row, text }
}

/**
 * A statement that takes on work of several that have nothing to do with each other: one whose row no schema takes any more, as another
 * version wrote it, keeps none of the others waiting.
 */
export function claims<Row extends z.ZodType>(name: string, row: Row, text: string): Statement<Row> {
  return { name, row, text, leavesOdd: true }
}

/** @param row as much of it as names it */
export type OnOddRow = (odd: { readonly statement: string; readonly row: string; readonly why: string }) => void

export interface Sql {
  rows<Row extends z.ZodType>(statement: Statement<Row>, values: readonly unknown[]): Promise<z.infer<Row>[]>
  /** Commits when `work` resolves, rolls back when it throws. Deadlocks, serialisation failures and lanes that were taken are tried again. */
  transaction<Result>(work: (tx: Transaction) => Promise<Result>): Promise<Result>
}

/** Runs prepared statements inside one transaction. */
export interface Transaction extends Pick<Sql, 'rows'> {
  /** The last statement, sent together with the commit: one round trip for both. Nothing may follow it. */
  rowsAndCommit<Row extends z.ZodType>(statement: Statement<Row>, values: readonly unknown[]): Promise<z.infer<Row>[]>
}

const MAX_TRIES = 4
const MAX_WHY = 500
/** What `pg` calls an answer that did not come in time; it has cut the connection then. */
const UNANSWERED = 'Query read timeout'
/** serialization_failure, deadlock_detected; exclusion_violation: a lane was given to somebody in that very moment, who is seen now */
const TRY_AGAIN = new Set(['40001', '40P01', '23P01'])
/** connection_exception and its kind; admin_shutdown, crash_shutdown, cannot_connect_now */
const GOING_AWAY = /^(08|57P)/

/**
 * The hot path's door to Postgres: TypeORM's own connections, used with named prepared statements, which its query() cannot
 * send, and pipelined, so that a transaction's begin and commit cost no round trips of their own. What names save is
 * planning: a third of a millisecond for each of the larger statements.
 * @param onOdd is told of rows that claims leave
 * @param answerWithinMs a connection that gives no answer for so long is cut: where its server is gone without a word, nobody else would ever
 * say so, and whoever asked would wait for good. Undefined: it may take as long as it takes.
 */
export function createSql(db: DataSource, onOdd: OnOddRow = () => undefined, answerWithinMs?: number): Sql {
  const ask: Ask = (client, query) => {
    const bounded = { ...query, ...(answerWithinMs === undefined ? {} : { query_timeout: answerWithinMs }) }
    return client.query(bounded)
  }

  // as: the postgres driver keeps its pg.Pool there once it is initialised; TypeORM types the driver of any database.
  const pool = (db.driver as unknown as { readonly master: Pool }).master

  async function connected<Result>(work: (client: PoolClient) => Promise<Result>): Promise<Result> {
    const client = await pool.connect().catch((cause: unknown) => {
      throw new FleetError('unavailable', 'the database cannot be reached', { cause })
    })
    // A connection that breaks while it is ours says so here too, beside failing its queries; unheard, it would end us.
    let broken: Error | undefined
    const onError = (error: Error) => {
      broken = error
    }
    client.on('error', onError)
    try {
      return await work(client)
    } catch (error) {
      if (isUnanswered(error)) broken ??= error
      if (broken === undefined && !GOING_AWAY.test(sqlState(error))) throw error
      const message = 'the database was lost in the middle of this; it may or may not have been done'
      throw new FleetError('unavailable', message, { cause: error })
    } finally {
      client.off('error', onError)
      client.release(broken)
    }
  }

  async function attempt<Result>(work: (tx: Transaction) => Promise<Result>): Promise<Result> {
    return connected(async (client) => {
      // Not awaited: it goes out with the first statement. Should it fail, so does that one.
      const begun = ask(client, { text: 'begin' }).catch(() => undefined)
      const tx = transactionOf(client, { ask, onOdd })
      try {
        const result = await work(tx)
        await begun
        if (!tx.ended()) await ask(client, { text: 'commit' })
        return result
      } catch (error) {
        // Where the connection broke there is nothing left to roll back.
        if (!tx.ended()) await ask(client, { text: 'rollback' }).catch(() => undefined)
        throw error
      }
    })
  }

  /** Deadlocks, serialisation failures and lanes that were taken are tried again: Postgres has undone all of it. */
  async function persistently<Result>(work: () => Promise<Result>): Promise<Result> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await work()
      } catch (error) {
        if (tries >= MAX_TRIES || !TRY_AGAIN.has(sqlState(error))) throw error
      }
    }
  }

  return {
    rows: (statement, values) =>
      persistently(() => connected((client) => run(client, { statement, values, ask, onOdd }))),
    transaction: (work) => persistently(() => attempt(work)),
  }
}

type Ask = (
  client: PoolClient,
  query: { readonly name?: string; readonly text: string; readonly values?: unknown[] },
) => Promise<QueryResult>

function isUnanswered(error: unknown): error is Error {
  return error instanceof Error && error.message === UNANSWERED
}

interface Door {
  readonly ask: Ask
  readonly onOdd: OnOddRow
}

async function run<Row extends z.ZodType>(
  client: PoolClient,
  call: Door & { readonly statement: Statement<Row>; readonly values: readonly unknown[] },
): Promise<z.infer<Row>[]> {
  const { name, text, row, leavesOdd } = call.statement
  const result = await call.ask(client, { name, text, values: [...call.values] })
  if (!leavesOdd) return result.rows.map((columns) => row.parse(columns))
  return result.rows.flatMap((columns) => {
    const parsed = row.safeParse(columns)
    if (parsed.success) return [parsed.data]
    const [first] = parsed.error.issues
    const why = `${first?.path.join('.')}: ${first?.message}`.slice(0, MAX_WHY)
    call.onOdd({ statement: name, row: String(columns.id ?? columns.run_id), why })
    return []
  })
}

function transactionOf(client: PoolClient, door: Door): Transaction & { ended(): boolean } {
  let ended = false
  return {
    ended: () => ended,
    rows: (statement, values) => run(client, { statement, values, ...door }),
    async rowsAndCommit(statement, values) {
      const rows = run(client, { statement, values, ...door })
      ended = true
      // After a failed statement Postgres takes this commit for a rollback.
      const [answer, committed] = await Promise.allSettled([rows, door.ask(client, { text: 'commit' })])
      if (answer.status === 'rejected') throw answer.reason
      // Rows may be answered and the commit fail all the same: then nothing was written.
      if (committed.status === 'rejected') throw committed.reason
      return answer.value
    },
  }
}

/**
 * Whether Postgres itself said no, so that nothing was written. Anything else (a connection that broke, a server that is
 * shutting down) may have happened after the commit.
 */
export function isRefusal(error: unknown): boolean {
  const state = sqlState(error)
  return /^[0-9A-Z]{5}$/.test(state) && !state.startsWith('08') && !state.startsWith('57')
}

/** The five-character SQLSTATE of a failure of Postgres, or ''. */
export function sqlState(error: unknown): string {
  return typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string'
    ? error.code
    : ''
}
