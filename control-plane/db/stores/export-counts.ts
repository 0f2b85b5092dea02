import { z } from 'zod'
import { type Sql, statement } from '../sql.ts'

const STATES = ['creating', 'available', 'deleting'] as const

const counted = statement(
  'export_counts',
  z.object({ state: z.enum(STATES), n: z.number() }),
  'select state, count(*)::int as n from export group by state',
)

/** All rows are read for it: however many ask, no more often than this. */
const FRESH_MS = 30_000

export type ExportCounts = Readonly<Record<(typeof STATES)[number], number>>

/** @returns how many exports of the whole fleet are in each state, at most half a minute ago. */
export function createExportCounts(sql: Sql, now: () => number = Date.now): () => Promise<ExportCounts> {
  let known: { readonly counts: Promise<ExportCounts>; readonly atMs: number } | undefined

  async function count(): Promise<ExportCounts> {
    const rows = await sql.rows(counted, [])
    return { creating: 0, available: 0, deleting: 0, ...Object.fromEntries(rows.map(({ state, n }) => [state, n])) }
  }

  return () => {
    if (known !== undefined && now() - known.atMs < FRESH_MS) return known.counts
    const asked = { counts: count(), atMs: now() }
    known = asked
    asked.counts.catch(() => {
      if (known === asked) known = undefined
    })
    return asked.counts
  }
}
