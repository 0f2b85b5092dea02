import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { Capabilities, DriverName } from '../../../shared/wire/messages.ts'
import type { Dataset } from '../../core/datasets.ts'
import type { Order } from '../../core/orders.ts'
import { statement, type Transaction } from '../sql.ts'

/** What an earlier request under the same `Idempotency-Key` placed; nothing is left to be sent. */
export interface PlacedBefore {
  readonly jobId: string
  /** The dataset it makes, as it stood when it was placed. */
  readonly dataset: Dataset | undefined
}

const KeptDataset: z.ZodType<Dataset> = z.object({
  id: z.string(),
  ordinal: z.number(),
  groupId: z.string(),
  name: z.string(),
  isSnapshot: z.boolean(),
  readonly: z.boolean(),
  origin: z.object({ id: z.string(), ordinal: z.number(), name: z.string().nullable() }).nullable(),
  state: z.literal('creating'),
  host: z.string(),
  pool: z.string(),
  driver: DriverName,
  capabilities: Capabilities,
  rootInode: z.number(),
  mountpoint: z.string(),
  consistency: z.enum(['crash', 'fuzzy']),
  tags: z.record(z.string(), z.string()),
  createdAt: z.coerce.date(),
  version: z.number(),
})

const KeptPlace = z.object({ job_id: z.string(), dataset: KeptDataset.optional() })

/** A job that came to nothing because its host did not answer was not placed, as far as a repeat is concerned. */
const lockKeys = statement(
  'order_lock_keys',
  z.object({ hash: z.string(), holder: z.string(), placed: z.record(z.string(), KeptPlace) }),
  `select encode(k.hash, 'hex') as hash, k.holder, coalesce((
     select jsonb_object_agg(p.key, p.value)
     from jsonb_each(k.placed) p
     left join job j on j.id = (p.value ->> 'job_id')::uuid
     where not coalesce(j.withdrawn or j.error ->> 'code' in ('unavailable', 'busy'), false)
   ), '{}') as placed
   from idempotency_key k
   where k.hash = any(array(select decode(h, 'hex') from unnest($1::text[]) as h))
   order by k.hash
   for update of k`,
)

const keep = statement(
  'order_keep_placed',
  z.unknown(),
  `update idempotency_key
   set placed = idempotency_key.placed || made.placed
   from jsonb_to_recordset($1::jsonb) as made(hash text, placed jsonb)
   where idempotency_key.hash = decode(made.hash, 'hex')`,
)

/**
 * For each order what was placed before under its key: undefined where it is to be placed now, a failure where another request
 * holds the key by now. The keys stay locked, so that nobody else places under them meanwhile.
 */
export async function placedBefore(
  tx: Transaction,
  orders: readonly Order[],
): Promise<readonly (PlacedBefore | FleetError | undefined)[]> {
  const hashes = new Set(orders.flatMap(({ key }) => (key === undefined ? [] : [key.hash])))
  if (hashes.size === 0) return []
  const rows = new Map((await tx.rows(lockKeys, [[...hashes]])).map((row) => [row.hash, row]))
  return orders.map(({ key }) => {
    if (key === undefined) return undefined
    const row = rows.get(key.hash)
    if (row?.holder !== key.holder) {
      return new FleetError('busy', 'another request with this Idempotency-Key has taken over')
    }
    const placed = row.placed[key.n]
    return placed && { jobId: placed.job_id, dataset: placed.dataset }
  })
}

/** Keeps what was placed now beside the keys of those who asked for it. */
export async function keepPlaced(
  tx: Transaction,
  placed: readonly { readonly order: Order; readonly jobId: string; readonly dataset: Dataset | undefined }[],
): Promise<void> {
  const byHash = new Map<string, Record<string, unknown>>()
  for (const { order, jobId, dataset } of placed) {
    if (order.key === undefined) continue
    const { hash, n } = order.key
    byHash.set(hash, { ...byHash.get(hash), [n]: { job_id: jobId, dataset } })
  }
  if (byHash.size === 0) return
  await tx.rows(keep, [JSON.stringify([...byHash].map(([hash, of]) => ({ hash, placed: of })))])
}
