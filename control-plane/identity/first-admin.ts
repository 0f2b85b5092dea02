import { randomBytes } from 'node:crypto'
import { FleetError } from '../../shared/errors.ts'
import type { FirstAdminStore } from '../db/stores/first-admin-store.ts'
import { hashPassword, verifyPassword } from './passwords.ts'

const PASSWORD_BYTES = 18

/**
 * Makes an admin of the whole fleet with a new password.
 * @returns the password, which is kept nowhere else. @throws exists.
 */
export async function createAdmin(store: FirstAdminStore, name: string): Promise<string> {
  const password = randomBytes(PASSWORD_BYTES).toString('base64url')
  if (await store.create(name, await hashPassword(password))) return password
  throw new FleetError('exists', `name: there is a user '${name}' already`, { field: 'name' })
}

/** Makes `username` an admin who logs in with `password`; one who is there keeps everything but the password. */
export async function ensureAdmin(
  store: FirstAdminStore,
  { username, password }: { readonly username: string; readonly password: string },
): Promise<void> {
  const kept = await store.passwordOf(username)
  if (kept === undefined && (await store.create(username, await hashPassword(password)))) return
  if (kept !== undefined && (await verifyPassword(password, kept))) return
  await store.setPassword(username, await hashPassword(password))
}
