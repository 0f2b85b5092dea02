import type { Logger } from '../shared/logger.ts'
import type { OnOddRow } from './db/sql.ts'

/** Of more, the first ones are told again. */
const MAX_KNOWN = 1_000

/** Logs each of them once: claims come back to what they left every few seconds. */
export function oddRows(logger: Logger): OnOddRow {
  const known = new Set<string>()
  return ({ statement, row, why }) => {
    const key = `${statement} ${row}`
    if (known.has(key)) return
    if (known.size >= MAX_KNOWN) known.clear()
    known.add(key)
    logger.error({ event: 'sql.odd_row', statement, row, why })
  }
}
