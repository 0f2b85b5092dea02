import { z } from 'zod'
import { type Sql, statement } from '../sql.ts'

const read = statement(
  'clock_read',
  z.object({ ms: z.coerce.number() }),
  'select floor(extract(epoch from clock_timestamp()) * 1000) as ms',
)

/** The time that every replica goes by, epoch ms: that of Postgres, since theirs may differ. */
export function createClock(sql: Sql): () => Promise<number> {
  return async () => {
    const [row] = await sql.rows(read, [])
    return row?.ms ?? Date.now()
  }
}

/** The same without a wait: our own clock, and how far the other was ahead of it when it was read last. */
export interface FleetClock {
  /** Epoch ms, whole. */
  now(): number
  read(): Promise<void>
}

export function createFleetClock(sql: Sql, ownMs: () => number = Date.now): FleetClock {
  let aheadMs = 0
  return {
    now: () => Math.round(ownMs() + aheadMs),
    async read() {
      const askedMs = ownMs()
      const [row] = await sql.rows(read, [])
      if (row) aheadMs = row.ms - (askedMs + ownMs()) / 2
    },
  }
}
