import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { LockedJob } from '../../core/job-change.ts'
import type { Order } from '../../core/orders.ts'
import type { Statement, Transaction } from '../sql.ts'

/** Of what an order is placed for, as it is locked: `is_there` where another order may be. */
export const StandingRow = z.object({ id: z.string(), version: z.coerce.number(), is_there: z.boolean() })

type StandingOrder = Order & {
  readonly task: { readonly id: string; readonly version?: number | undefined; readonly made?: object | undefined }
}

/**
 * Locks the backups that orders are placed for, but for those that are made with them.
 * @param busy says why one is not there for another order @returns why orders must not be placed
 */
export async function lockStanding(
  tx: Transaction,
  orders: readonly StandingOrder[],
  { lock, busy }: { readonly lock: Statement<typeof StandingRow>; readonly busy: string },
): Promise<ReadonlyMap<Order, FleetError>> {
  const gone = new Map<Order, FleetError>()
  const standing = orders.filter(({ task }) => task.made === undefined)
  if (standing.length === 0) return gone
  const rows = new Map((await tx.rows(lock, [standing.map(({ task }) => task.id)])).map((row) => [row.id, row]))
  for (const order of standing) {
    const { id, version } = order.task
    const row = rows.get(id)
    if (row === undefined) gone.set(order, new FleetError('not_found', `there is no backup '${id}'`))
    else if (version !== undefined && version !== row.version) {
      gone.set(order, new FleetError('stale', 'the backup has changed in this moment'))
    } else if (!row.is_there) gone.set(order, new FleetError('conflict', busy))
  }
  return gone
}

interface Linking<Placed extends StandingOrder> {
  /** Takes rows of `madeRow` as `$1::jsonb`. */
  readonly make: Statement<z.ZodType>
  /** Takes rows of `linkedRow` so. */
  readonly link: Statement<z.ZodType>
  readonly madeRow: (made: NonNullable<Placed['task']['made']>, task: Placed['task']) => object
  readonly linkedRow: (task: Placed['task']) => object
}

/** From here on the backups are the jobs': those that are made with them, and those that were there. Rows get their `job_id` here. */
export async function linkStanding<Placed extends StandingOrder>(
  tx: Transaction,
  orders: readonly Placed[],
  jobOf: (order: Order) => LockedJob | undefined,
  { make, link, madeRow, linkedRow }: Linking<Placed>,
): Promise<void> {
  const made: object[] = []
  const linked: object[] = []
  for (const order of orders) {
    const job = jobOf(order)
    if (job === undefined) continue
    const { task } = order
    if (task.made === undefined) linked.push({ ...linkedRow(task), id: task.id, job_id: job.id })
    else made.push({ ...madeRow(task.made, task), id: task.id, job_id: job.id })
  }
  if (made.length > 0) await tx.rows(make, [JSON.stringify(made)])
  if (linked.length > 0) await tx.rows(link, [JSON.stringify(linked)])
}
