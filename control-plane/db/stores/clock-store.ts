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
