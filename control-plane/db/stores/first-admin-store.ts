import { z } from 'zod'
import { newId } from '../../../shared/ids.ts'
import { type Sql, statement } from '../sql.ts'

const create = statement(
  'first_admin_create',
  z.object({ id: z.string() }),
  `insert into fleet_user (id, name, password, role)
   values ($1, $2, $3, 'admin')
   on conflict (name) do nothing
   returning id`,
)

const passwordOf = statement(
  'first_admin_password',
  z.object({ password: z.string().nullable() }),
  'select password from fleet_user where name = $1',
)

const setPassword = statement(
  'first_admin_set_password',
  z.unknown(),
  `update fleet_user
   set password = $2, version = version + 1, updated_at = now()
   where name = $1`,
)

/** Users that exist before anybody is there who could make them. Passwords are in PHC format. */
export interface FirstAdminStore {
  /** @returns false when somebody of that name is there already. */
  create(name: string, password: string): Promise<boolean>
  passwordOf(name: string): Promise<string | null | undefined>
  setPassword(name: string, password: string): Promise<void>
}

export function createFirstAdminStore(sql: Sql): FirstAdminStore {
  return {
    create: async (name, password) => (await sql.rows(create, [newId(), name, password])).length > 0,
    passwordOf: async (name) => (await sql.rows(passwordOf, [name]))[0]?.password,
    async setPassword(name, password) {
      await sql.rows(setPassword, [name, password])
    },
  }
}
