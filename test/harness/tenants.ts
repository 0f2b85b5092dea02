import { randomBytes, randomUUID } from 'node:crypto'
import type { Role } from '../../control-plane/core/caller.ts'
import type { TestFleet } from './fleet.ts'

export interface Tenant {
  readonly groupId: string
  readonly name: string
  /** A user of its own, who has this role there and nothing over the fleet; their token. */
  member(role: Role): Promise<{ readonly userId: string; readonly username: string; readonly token: string }>
}

/** A user with a role over the fleet, or none, and a token that bounds nothing. */
export async function createUser(fleet: TestFleet, role: Role | null) {
  const userId = randomUUID()
  const username = `user-${userId.slice(0, 8)}`
  const token = randomBytes(32).toString('base64url')
  await fleet.sql('insert into fleet_user (id, name, role) values ($1, $2, $3)', [userId, username, role])
  await fleet.sql(
    `insert into access_token (id, group_id, user_id, name, hash, role)
     values ($1, null, $2, 'test', sha256($3::text::bytea), 'admin')`,
    [randomUUID(), userId, token],
  )
  return { userId, username, token }
}

/** A tenant as rows: who manages tenants is tested elsewhere. */
export async function createTenant(fleet: TestFleet, name: string): Promise<Tenant> {
  const groupId = randomUUID()
  await fleet.sql('insert into user_group (id, name) values ($1, $2)', [groupId, name])
  return {
    groupId,
    name,
    async member(role) {
      const user = await createUser(fleet, null)
      await fleet.sql('insert into membership (group_id, user_id, role) values ($1, $2, $3)', [
        groupId,
        user.userId,
        role,
      ])
      return user
    },
  }
}
