import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { ADVISORY_LOCKS } from '../advisory-locks.ts'
import { statement, type Transaction } from '../sql.ts'

const lock = statement('steward_lock', z.unknown(), 'select pg_advisory_xact_lock($1)')

/** Those who may administer the fleet, and who will tomorrow: tokens that expire do not count. */
const remain = statement(
  'steward_remain',
  z.object({ remain: z.boolean() }),
  `select exists (select 1 from fleet_user where role = 'admin' and not disabled)
     or exists (
       select 1 from access_token where user_id is null and group_id is null and role = 'admin' and expires_at is null
     ) as remain`,
)

/** Two who take each other away at the same time must not both succeed. To be called before the change. */
export async function lockStewards(tx: Transaction): Promise<void> {
  await tx.rows(lock, [ADVISORY_LOCKS.stewards])
}

/** To be called after an admin of the fleet was taken away. @throws conflict when it was the last. */
export async function requireSteward(tx: Transaction): Promise<void> {
  const [row] = await tx.rows(remain, [])
  if (row?.remain) return
  throw new FleetError('conflict', 'nobody would be left who may administer the fleet')
}
