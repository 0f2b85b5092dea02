import { z } from 'zod'
import { type Sql, statement } from '../sql.ts'

const known = statement('known_points', z.object({ id: z.string() }), 'select id from point where id = any($1::uuid[])')

/** Those among these ids that points have. */
export function createKnownPoints(sql: Sql): (ids: readonly string[]) => Promise<readonly string[]> {
  return async (ids) => (await sql.rows(known, [ids])).map(({ id }) => id)
}
