import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { KeptInstance } from '../../core/instances.ts'
import type { Decision, Order } from '../../core/orders.ts'
import { statement, type Transaction } from '../sql.ts'
import { INSTANCE_COLUMNS, INSTANCE_FROM, InstanceRow } from './instance-columns.ts'

/**
 * They cannot go until the order is placed. More is not held: whoever changes a row for a job that has ended may have that job's lanes
 * already, which the order waits for.
 */
const keep = statement(
  'order_keep_instances',
  InstanceRow,
  `select ${INSTANCE_COLUMNS} ${INSTANCE_FROM} where i.id = any($1::uuid[]) order by i.id for key share of i`,
)

export async function instancesOf(tx: Transaction, orders: readonly Order[]): Promise<readonly KeptInstance[]> {
  const ids = orders.flatMap(({ instances = [] }) => instances).filter((id) => z.uuid().safeParse(id).success)
  return ids.length === 0 ? [] : (await tx.rows(keep, [ids])).map(({ instance }) => instance)
}

const create = statement(
  'order_create_instance',
  z.object({ id: z.string() }),
  `insert into instance (id, group_id, host_id, type, name, state, job_id)
   select $1, $2, $3, $4, $5, 'CREATING', $6
   where not exists (
     select 1 from instance i where i.host_id = $3 and i.type = $4 and i.name = $5 and i.gone_at is null
   )
   on conflict do nothing
   returning id`,
)

const replace = statement(
  'order_replace_instance',
  z.object({ id: z.string() }),
  `update instance
   set job_id = $2, version = version + 1
   where id = $1 and job_id is null and gone_at is null
   returning id`,
)

/** Whether something of the decision is written behind its job. */
export function makesInstance(decided: { readonly decision: Decision } | FleetError | undefined): boolean {
  return decided !== undefined && !(decided instanceof FleetError) && decided.decision.instance !== undefined
}

/** The instance that a job which was just placed makes, or makes anew. @throws exists, conflict: then nothing may be written at all. */
export async function keepInstance(
  tx: Transaction,
  order: Order,
  { jobId, decision }: { readonly jobId: string; readonly decision: Decision },
): Promise<void> {
  const { instance, host } = decision
  if (instance === undefined) return
  if ('replace' in instance) {
    const [row] = await tx.rows(replace, [instance.replace, jobId])
    if (row === undefined) throw new FleetError('conflict', 'it is gone, or another job makes it anew already')
    return
  }
  const { id, type, name } = instance.create
  const [row] = await tx.rows(create, [id, order.groupId, host.id, type, name, jobId])
  if (row) return
  throw new FleetError('exists', `there is '${name}' on host '${host.name}' already`, { field: 'name' })
}
