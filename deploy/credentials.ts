import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { z } from 'zod'
import { writeFileAtomically } from './atomic-file.ts'
import { readKept, writeKept } from './kept-json.ts'

/** `credentials.json`: what a user needs to talk to this fleet. The control plane makes sure at boot that they hold. */
export const Credentials = z.object({ url: z.url(), username: z.string(), password: z.string(), token: z.string() })
export type Credentials = z.infer<typeof Credentials>

const PASSWORD_BYTES = 18
const TOKEN_BYTES = 32

export function newSecret(bytes: number = PASSWORD_BYTES): string {
  return randomBytes(bytes).toString('base64url')
}

/** Made once; later starts only bring the address up to date. */
export function ensureCredentials(path: string, url: string): Credentials {
  const kept = readKept(path, Credentials)
  const credentials = kept
    ? { ...kept, url }
    : { url, username: 'admin', password: newSecret(), token: newSecret(TOKEN_BYTES) }
  writeKept(path, credentials)
  return credentials
}

const SECRETS_KEY_BYTES = 32

/** The key that seals secrets at rest: made at the first start, never replaced, because nothing else opens what it sealed. */
export function ensureSecretsKey(path: string): void {
  if (existsSync(path)) return
  writeFileAtomically(path, `${randomBytes(SECRETS_KEY_BYTES).toString('base64')}\n`)
}
