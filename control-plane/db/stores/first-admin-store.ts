import { z } from 'zod'
import { newId } from '../../../shared/ids.ts'
import { type Sql, statement } from '../sql.ts'

/** Nobody asked over HTTP: it was the operator of this machine, or the file that the control plane starts with. */
function audited(operation: string, users: string): string {
  return `insert into audit (subject, via, operation, object_kind, object_id, object_name, result)
     select 'system', 'system', '${operation}', 'user', id::text, name, 'done' from ${users}`
}

const create = statement(
  'first_admin_create',
  z.object({ id: z.string() }),
  `with made as (
     insert into fleet_user (id, name, password, role)
     values ($1, $2, $3, 'admin')
     on conflict (name) do nothing
     returning id, name
   ), audited as (
     ${audited('user.create', 'made')}
   )
   select id from made`,
)

const passwordOf = statement(
  'first_admin_password',
  z.object({ password: z.string().nullable() }),
  'select password from fleet_user where name = $1',
)

const setPassword = statement(
  'first_admin_set_password',
  z.object({ id: z.string() }),
  `with changed as (
     update fleet_user
     set password = $2, version = version + 1, updated_at = now()
     where name = $1
     returning id, name
   ), audited as (
     ${audited('user.update', 'changed')}
   )
   select id from changed`,
)

const endSessions = statement('first_admin_end_sessions', z.unknown(), 'delete from session where user_id = $1')

/** Users that exist before anybody is there who could make them. Passwords are in PHC format. */
export interface FirstAdminStore {
  /** @returns false when somebody of that name is there already. */
  create(name: string, password: string): Promise<boolean>
  passwordOf(name: string): Promise<string | null | undefined>
  /** Ends the sessions that the old one has opened. */
  setPassword(name: string, password: string): Promise<void>
}

export function createFirstAdminStore(sql: Sql): FirstAdminStore {
  return {
    create: async (name, password) => (await sql.rows(create, [newId(), name, password])).length > 0,
    passwordOf: async (name) => (await sql.rows(passwordOf, [name]))[0]?.password,
    setPassword: (name, password) =>
      sql.transaction(async (tx) => {
        for (const { id } of await tx.rows(setPassword, [name, password])) await tx.rows(endSessions, [id])
      }),
  }
}
