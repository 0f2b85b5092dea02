import { z } from 'zod'
import { AgeRecipient } from '../shared/age-keys.ts'

/** Of our own choice: one that means something else already would be taken away from those who read it. */
const HeaderName = z
  .string()
  .regex(/^[a-zA-Z0-9-]{1,100}$/, 'must be the name of a header: letters, digits and hyphens')
  .refine(
    (name) => TAKEN_HEADERS.every((taken) => taken !== name.toLowerCase()),
    'is a header that means something else',
  )

const TAKEN_HEADERS = [
  ...['authorization', 'cookie', 'host', 'origin', 'connection', 'upgrade', 'content-length', 'content-type'],
  ...[
    'transfer-encoding',
    'x-auth-token',
    'x-holdfast-group',
    'x-forwarded-for',
    'x-forwarded-proto',
    'forwarded',
    'via',
  ],
  ...['sec-fetch-site', 'sec-websocket-protocol', 'idempotency-key', 'if-match', 'if-none-match', 'x-request-id'],
]

const ServiceUrl = z
  .string()
  .regex(/^https?:\/\/[^/@?#\s]+(\/[^@?#\s]*)?$/, 'must be an http:// or https:// URL without credentials or a query')

/** The control plane's environment. Everything a replica needs; nothing else reads `process.env`. */
export const ControlPlaneConfig = z.object({
  HOLDFAST_PORT: z.coerce.number().int().min(0).max(65_535).default(8080),
  HOLDFAST_BIND: z.string().default('127.0.0.1'),
  DATABASE_URL: z.string().regex(/^postgres(ql)?:\/\//, 'must be a postgres:// URL'),
  NATS_URL: z.string().regex(/^(nats|tls):\/\//, 'must be a nats:// or tls:// URL'),
  /**
   * File (a systemd credential) with the keys that make NATS users, by `holdfast nats authority`: then every agent is enrolled
   * and has credentials of its own. Without, NATS lets in whom it will, and who says hello under a name is that host.
   */
  NATS_AUTHORITY_FILE: z.string().optional(),
  /** Without an authority: file with the nkey seed that NATS knows this control plane by. */
  NATS_SEED_FILE: z.string().optional(),
  /** PEM: the authority of NATS' certificate, which agents are told of too; our own certificate, where NATS asks for one. */
  NATS_CA_FILE: z.string().optional(),
  NATS_CERT_FILE: z.string().optional(),
  NATS_KEY_FILE: z.string().optional(),
  /** Where agents find NATS, with commas between; default: where we do. */
  HOLDFAST_AGENT_NATS_URLS: z
    .string()
    .regex(/^((nats|tls):\/\/[^,@\s]+(,|$))*$/, 'must be nats:// or tls:// URLs without credentials')
    .default(''),
  /** How long an agent's credentials last; it renews them when a third of that is left. */
  HOLDFAST_AGENT_CREDENTIAL_SECONDS: z.coerce
    .number()
    .int()
    .min(5)
    .max(366 * 86_400)
    .default(30 * 86_400),
  /** File with `{"token": …}`, and `username` and `password` if wanted: the first admin, who must be let in; made by `npm start` or by the operator. */
  HOLDFAST_CREDENTIALS_FILE: z.string().optional(),
  /**
   * File (a systemd credential) with the keys that seal secrets at rest: 32 bytes each in base64, one a line, the newest first.
   * Or the keys themselves, with commas between. One of the two is required.
   */
  HOLDFAST_SECRETS_KEY_FILE: z.string().optional(),
  HOLDFAST_SECRETS_KEY: z.string().optional(),
  /** `127.0.0.0/8=admin,10.0.0.0/8=viewer`: roles of clients that cannot authenticate. Default: none. */
  HOLDFAST_TRUSTED_NETWORKS: z.string().default(''),
  /** Host names, beside loopback ones, under which browsers on a trusted network may reach us. */
  HOLDFAST_ALLOWED_HOSTS: z.string().default(''),
  /**
   * Networks of reverse proxies, with commas between, whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed. What other
   * proxies hand on stands for no trusted network.
   */
  HOLDFAST_TRUSTED_PROXIES: z.string().default(''),
  /** Another listener, of all the same: where clients look for the backup service, as a rule 8110; on the same address where no other is named. */
  HOLDFAST_BACKUP_PORT: z.coerce.number().int().min(0).max(65_535).optional(),
  HOLDFAST_BACKUP_BIND: z.string().optional(),
  /** A second listener, over TLS; on the same address where no other is named. */
  HOLDFAST_TLS_BIND: z.string().optional(),
  HOLDFAST_TLS_PORT: z.coerce.number().int().min(0).max(65_535).optional(),
  HOLDFAST_TLS_CERT_FILE: z.string().optional(),
  HOLDFAST_TLS_KEY_FILE: z.string().optional(),
  /** The authority whose client certificates count there, and no other. Clients without one get nothing, unless they are `optional`. */
  HOLDFAST_CLIENT_CA_FILE: z.string().optional(),
  HOLDFAST_CLIENT_CERTIFICATES: z.enum(['required', 'optional']).default('required'),
  /** PEM: the lists of what is revoked, one of each authority of a chain. While one is out of date, nobody is let in. */
  HOLDFAST_CLIENT_CRL_FILE: z.string().optional(),
  /**
   * The header in which the reverse proxies at these networks, with commas between, say whose certificate they have verified: its subject
   * (RFC 2253), or all of it, escaped PEM or as in RFC 9440. Believed only from there. Beside it one that must say `SUCCESS`, if wanted.
   */
  HOLDFAST_CERTIFICATE_HEADER: HeaderName.optional(),
  HOLDFAST_CERTIFICATE_VERIFIED_HEADER: HeaderName.optional(),
  HOLDFAST_CERTIFICATE_PROXIES: z.string().default(''),
  /** `true`: who is a member is decided elsewhere, and groups take ids of users that nobody here has. */
  HOLDFAST_EXTERNAL_IDENTITY: z.enum(['true', 'false']).default('false'),
  /** What `at.start` of backups counts in: `seconds` after 00:00, or `minutes`, as some Container Station clients have it. */
  HOLDFAST_QNAP_START_UNIT: z.enum(['seconds', 'minutes']).default('seconds'),
  /** IANA; what schedules that name no zone go by. The same on every replica; without it the machine's. */
  HOLDFAST_TIMEZONE: z
    .string()
    .default(() => Intl.DateTimeFormat().resolvedOptions().timeZone)
    .refine(isTimezone, 'must be the name of a time zone, like Europe/Berlin'),
  /** Runs of schedules that work at a time: on one host, and towards one target. */
  HOLDFAST_HOST_SLOTS: z.coerce.number().int().min(1).max(10_000).default(4),
  HOLDFAST_TARGET_SLOTS: z.coerce.number().int().min(1).max(10_000).default(4),
  /** Over how many seconds schedules of one instant are spread, each always by the same. */
  HOLDFAST_SPREAD_SECONDS: z.coerce.number().int().min(0).max(3_600).default(0),
  /** How long after its due instant a run is late, and a schedule without a good run overdue. */
  HOLDFAST_GRACE_SECONDS: z.coerce.number().int().min(1).max(86_400).default(300),
  /** A job that was cancelled is over when nobody has heard of its host for so long. */
  HOLDFAST_AWAY_HOURS: z.coerce
    .number()
    .min(1)
    .max(24 * 366)
    .default(24),
  /** Jobs that ended are forgotten after so long, unless a point, a run of a schedule or an instance names them. Events and the audit are not. */
  HOLDFAST_JOB_RETENTION_DAYS: z.coerce.number().min(2).max(36_500).default(400),
  /** How long what retention deletes can be had back. */
  HOLDFAST_TRASH_HOURS: z.coerce
    .number()
    .min(0)
    .max(24 * 366)
    .default(24),
  /** Told of overdue schedules by signed POSTs; a file (a systemd credential) with the secret that signs them, or the secret itself. */
  HOLDFAST_ALERT_WEBHOOK: z
    .string()
    .regex(/^https?:\/\//, 'must be an http:// or https:// URL')
    .optional(),
  HOLDFAST_ALERT_SECRET_FILE: z.string().optional(),
  HOLDFAST_ALERT_SECRET: z.string().min(16, 'must be at least 16 characters').optional(),
  /** `true`: the webhook may be on this machine. */
  HOLDFAST_ALERT_LOOPBACK: z.enum(['true', 'false']).default('false'),
  /**
   * Where the station itself is backed up to every day, at that time of `HOLDFAST_TIMEZONE`; a directory that is there. Without,
   * this replica makes none. Of this station the newest that many stay.
   */
  HOLDFAST_STATION_BACKUP_DIR: z.string().optional(),
  HOLDFAST_STATION_BACKUP_AT: z
    .string()
    .regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'must be a time like 02:30')
    .default('02:30'),
  HOLDFAST_STATION_BACKUP_KEEP: z.coerce.number().int().min(1).max(1_000).default(7),
  /** `age1…`, with commas between: they are encrypted to these, and then hold the keys too. */
  HOLDFAST_STATION_BACKUP_RECIPIENTS: z
    .string()
    .default('')
    .transform((text) => text.split(',').filter((one) => one !== ''))
    .pipe(z.array(AgeRecipient)),
  /**
   * A Cinder that answers for block storage instead of us, up to its version: `http://cinder:8776/v3`; and the Keystone whose tokens it
   * takes, which are then known here too: `http://keystone:5000/v3`. Without the latter it must be one that asks for none (`noauth`).
   */
  HOLDFAST_CINDER_URL: ServiceUrl.optional(),
  HOLDFAST_KEYSTONE_URL: ServiceUrl.optional(),
  /**
   * File (a systemd credential, nobody else's to read) with who we are there ourselves, for backups of its volumes: JSON with
   * `application_credential_id` and `application_credential_secret`, or `username`, `password`, `project_name`. A role that acts on every
   * project's volumes (`admin`) is needed.
   */
  HOLDFAST_CINDER_CREDENTIALS: z.string().optional(),
  HOLDFAST_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  HOLDFAST_DB_CONNECTIONS: z.coerce.number().int().min(2).max(100).default(8),
})

function isTimezone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name })
    return /^[A-Za-z]/.test(name)
  } catch {
    return false
  }
}

export type ControlPlaneConfig = Readonly<z.infer<typeof ControlPlaneConfig>>
