import { resolve } from 'node:path'
import { z } from 'zod'

const MAX_LOCAL_AGENTS = 16

const urlOf = (protocols: RegExp, example: string) =>
  z.string().refine((url) => URL.canParse(url) && protocols.test(new URL(url).protocol), `must look like ${example}`)

/** What `npm start` reads from its environment. */
export const LocalSettings = z.object({
  /** The control plane's HTTP port on 127.0.0.1. */
  HOLDFAST_PORT: z.coerce.number().int().min(1).max(65_535).default(8080),
  /**
   * A listener over TLS, for clients with certificates. Unless `HOLDFAST_TLS_CERT_FILE` and the rest name others, an authority, its
   * certificate and one for a client are made in the state directory.
   */
  HOLDFAST_TLS_PORT: z.coerce.number().int().min(1).max(65_535).optional(),
  HOLDFAST_TLS_CERT_FILE: z.string().optional(),
  /** Another listener of all the same, where clients look for the backup service: 8110 as a rule. */
  HOLDFAST_BACKUP_PORT: z.coerce.number().int().min(1).max(65_535).optional(),
  HOLDFAST_STATE: z
    .string()
    .default('.holdfast')
    .transform((path) => resolve(path)),
  /** How many agents, each with a pool of its own. */
  HOLDFAST_AGENTS: z.coerce.number().int().min(1).max(MAX_LOCAL_AGENTS).default(1),
  /** Handed to the control plane: the keys that seal secrets. Default: `secrets-key` in the state directory, made at the first start. */
  HOLDFAST_SECRETS_KEY_FILE: z.string().optional(),
  /** Handed to the control plane, which checks it: `127.0.0.0/8=admin`. */
  HOLDFAST_TRUSTED_NETWORKS: z.string().default(''),
  /** Handed to the agents: below which host paths a restore may write. */
  HOLDFAST_AGENT_RESTORE_PATHS: z.string().default('/tmp/'),
  /** Handed to the agents: below which host paths directories may be backed up. */
  HOLDFAST_AGENT_SOURCE_PATHS: z.string().default('/tmp/'),
  /** Handed to the agents: whether a target may be on this very machine. */
  HOLDFAST_AGENT_TARGET_LOOPBACK: z.enum(['true', 'false']).default('true'),
  /** Handed to the control plane: where the station is backed up to every day. Default: `station-backups` in the state directory. */
  HOLDFAST_STATION_BACKUP_DIR: z.string().optional(),
  /** A backup of a station, or the directory of some, to begin from; the state directory is a new one. With the age identity that opens it. */
  HOLDFAST_RESTORE: z.string().optional(),
  HOLDFAST_RESTORE_IDENTITY: z.string().optional(),
  HOLDFAST_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  /** An existing PostgreSQL database instead of a private server. */
  DATABASE_URL: urlOf(/^postgres(ql)?:$/, 'postgres://user:password@host:5432/database').optional(),
  /**
   * An existing JetStream server instead of a private one. `NATS_AUTHORITY_FILE` as for the control plane: agents are enrolled
   * there too. Without, all processes use what the URL carries or `NATS_SEED_FILE`, and whoever that server lets in is believed.
   */
  NATS_URL: urlOf(/^(nats|tls):$/, 'nats://host:4222').optional(),
  NATS_AUTHORITY_FILE: z.string().optional(),
})
export type LocalSettings = Readonly<z.infer<typeof LocalSettings>>
