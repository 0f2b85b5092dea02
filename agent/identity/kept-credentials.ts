import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { z } from 'zod'
import { HostName } from '../../shared/ids.ts'

const PRIVATE_FILE_MODE = 0o600
const PRIVATE_DIRECTORY_MODE = 0o700

/** Private keys never leave this host. */
const OwnKeys = z.object({
  /** Of the nkey pair that NATS knows us by. */
  seed: z.string(),
  /** X25519, base64: opens what the control plane seals for us. */
  seal_private_key: z.string(),
  /** SHA-256, hex, of the enrolment token: a file that holds another one means that we are to enrol anew. */
  token_hash: z.string(),
})

/** Keys that are being enrolled: kept before they are shown to anybody, so that a repeat shows the same. */
export const PendingKeys = OwnKeys
export type PendingKeys = z.infer<typeof PendingKeys>

export const KeptCredentials = OwnKeys.extend({
  host: HostName,
  nats_urls: z.array(z.string()).min(1),
  /** PEM. */
  ca: z.string().optional(),
  jwt: z.string(),
})
export type KeptCredentials = z.infer<typeof KeptCredentials>

/** One small private JSON file. */
export interface KeptFile<Value> {
  /** @throws Error naming the file when it is damaged. */
  read(): Value | undefined
  /** As a whole or not at all, also after a crash. */
  write(value: Value): void
  remove(): void
}

export function keptFile<Schema extends z.ZodType>(path: string, schema: Schema): KeptFile<z.infer<Schema>> {
  return {
    read() {
      if (!existsSync(path)) return undefined
      try {
        return schema.parse(JSON.parse(readFileSync(path, 'utf8')))
      } catch {
        // Without the cause: it may quote what the file holds.
        throw new Error(`${path} is damaged: remove it and enrol this host again`)
      }
    },
    write(value) {
      mkdirSync(dirname(path), { recursive: true, mode: PRIVATE_DIRECTORY_MODE })
      const partial = `${path}.partial`
      const file = openSync(partial, 'w', PRIVATE_FILE_MODE)
      try {
        writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`)
        fsyncSync(file)
      } finally {
        closeSync(file)
      }
      renameSync(partial, path)
    },
    remove: () => rmSync(path, { force: true }),
  }
}
