import { readFileSync } from 'node:fs'
import type { ServerUser } from './postgres.ts'
import { StartError } from './start-error.ts'

const SERVER_ACCOUNT = 'postgres'

/** PostgreSQL refuses to run as root: then it runs as the account its package made. */
export function postgresUser(passwdPath = '/etc/passwd'): ServerUser {
  if (process.getuid?.() !== 0) return undefined
  for (const line of readFileSync(passwdPath, 'utf8').split('\n')) {
    const [name, , uid, gid] = line.split(':')
    if (name === SERVER_ACCOUNT) return { uid: Number(uid), gid: Number(gid) }
  }
  throw new StartError(
    `PostgreSQL does not run as root and there is no user ${SERVER_ACCOUNT}: make one, or set DATABASE_URL`,
  )
}
