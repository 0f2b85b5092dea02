import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { Decision } from '../../core/orders.ts'
import { statement, type Transaction } from '../sql.ts'

const lockStanding = statement(
  'order_lock_volumes',
  z.object({ id: z.string() }),
  `select id from volume where id = any($1::uuid[]) and state = 'available' order by id for share`,
)

/** The volume of the fleet that a point is to be made of. */
function sourceOf({ point }: Decision): { readonly id: string; readonly name: string } | undefined {
  const source = point && 'create' in point ? point.create.source : undefined
  return source?.kind === 'volume' && source.isLent === undefined ? source : undefined
}

/**
 * Decisions about volumes that were read before: each is looked at again, and stays until the order is placed. One that somebody deleted
 * meanwhile, and perhaps made anew for another group, is conflict.
 */
export async function requireVolumes<Decided extends { readonly decision: Decision }>(
  tx: Transaction,
  decided: readonly (Decided | FleetError | undefined)[],
): Promise<readonly (Decided | FleetError | undefined)[]> {
  const sources = decided.map((one) =>
    one === undefined || one instanceof FleetError ? undefined : sourceOf(one.decision),
  )
  const ids = sources.flatMap((source) => source?.id ?? [])
  if (ids.length === 0) return decided
  const standing = new Set((await tx.rows(lockStanding, [ids])).map(({ id }) => id))
  return decided.map((one, n) => {
    const source = sources[n]
    if (source === undefined || standing.has(source.id)) return one
    return new FleetError('conflict', `'${source.name}' was changed in this moment; try again`, {
      field: 'source.volume',
    })
  })
}
