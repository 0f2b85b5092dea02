import { z } from 'zod'

/** A name or address, and nothing of a URL beside it. */
const HostText = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[A-Za-z0-9._:%-]+$/, 'must be a host name or an address')
const Port = z.number().int().min(1).max(65_535)
const PemText = z
  .string()
  .max(65_536)
  .regex(/-----BEGIN CERTIFICATE-----/, 'must be certificates in PEM')

/** Where on the server everything of this target lies: segments below its root, none of them `.` or `..`. */
const BasePath = z
  .string()
  .max(1024)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is refused
  .regex(/^[^\u0000-\u001f\u007f\\]*$/, 'must not hold control characters or backslashes')
  .refine(
    (path) => !path.split('/').some((segment) => segment === '.' || segment === '..'),
    "must not hold '.' or '..'",
  )
  .default('/')

const TimeOfDay = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'must be a time like 22:30')
const BytesPerSecond = z.number().int().min(1024)

/** On these days (0 is Sunday) between these local times; one that ends before it begins runs into the next day. */
const BandwidthWindow = z.object({
  days: z.array(z.number().int().min(0).max(6)).min(1).max(7),
  from: TimeOfDay,
  to: TimeOfDay,
  /** Undefined: no limit. */
  bytesPerSecond: BytesPerSecond.optional(),
})

export const TargetLimits = z.object({
  /** Uploads at one time, and as many reads, of one agent. */
  slots: z.number().int().min(1).max(64).default(4),
  /** Outside of every window; undefined: no limit. Both directions together. */
  bytesPerSecond: BytesPerSecond.optional(),
  /** The first that matches wins. */
  windows: z.array(BandwidthWindow).max(64).default([]),
  timezone: z.string().max(64).default('UTC'),
})
export type TargetLimits = z.infer<typeof TargetLimits>

/**
 * How an upload is verified before it appears. `reread`: read back whole and hashed. `server`: by what the server itself tells,
 * a checksum where the protocol has one (S3, checked part by part), else the size.
 */
const Verification = z.enum(['reread', 'server'])

const common = { name: z.string().min(1).max(200), limits: TargetLimits.prefault({}) }

export const LocalTargetConfig = z.object({
  ...common,
  protocol: z.literal('local'),
  /** Below the agent's backup root. */
  base: BasePath,
  verify: Verification.default('server'),
})
export const WebdavTargetConfig = z.object({
  ...common,
  protocol: z.literal('webdav'),
  host: HostText,
  port: Port,
  /** https. */
  encrypt: z.boolean(),
  base: BasePath,
  username: z
    .string()
    .max(255)
    .regex(/^[^:]*$/, 'must not hold a colon'),
  /** Trusted instead of the public authorities. */
  ca: PemText.optional(),
  verify: Verification.default('reread'),
})
export const SftpTargetConfig = z.object({
  ...common,
  protocol: z.literal('sftp'),
  host: HostText,
  port: Port.default(22),
  base: BasePath,
  username: z.string().min(1).max(255),
  /** `<key type> SHA256:<base64>`, as the first contact told; without it nothing is sent to the server. */
  hostKey: z
    .string()
    .regex(/^[a-z0-9@.-]+ SHA256:[A-Za-z0-9+/]{43}$/, "must be like 'ssh-ed25519 SHA256:…'")
    .optional(),
  verify: Verification.default('reread'),
})
export const S3TargetConfig = z.object({
  ...common,
  protocol: z.literal('s3'),
  host: HostText,
  port: Port.default(443),
  encrypt: z.boolean().default(true),
  region: z.string().min(1).max(64).default('us-east-1'),
  bucket: z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'must be the name of a bucket'),
  /** `https://host/bucket/key` rather than `https://bucket.host/key`. */
  pathStyle: z.boolean().default(false),
  base: BasePath,
  accessKeyId: z.string().min(1).max(255),
  ca: PemText.optional(),
  verify: Verification.default('server'),
})

/** What an agent must know to reach a target; its secret travels beside it, sealed. */
export const TargetConfig = z.discriminatedUnion('protocol', [
  LocalTargetConfig,
  WebdavTargetConfig,
  SftpTargetConfig,
  S3TargetConfig,
])
export type TargetConfig = z.infer<typeof TargetConfig>
export type LocalTargetConfig = z.infer<typeof LocalTargetConfig>
export type WebdavTargetConfig = z.infer<typeof WebdavTargetConfig>
export type SftpTargetConfig = z.infer<typeof SftpTargetConfig>
export type S3TargetConfig = z.infer<typeof S3TargetConfig>

/** The opened secret of a target. */
export const TargetSecret = z.object({
  /** Of WebDAV and SFTP; the secret access key of S3. */
  password: z.string().max(4096).optional(),
  /** OpenSSH or PEM text. */
  privateKey: z.string().max(65_536).optional(),
  passphrase: z.string().max(4096).optional(),
  /** age identity that opens what the target's recipients can: only where its owner gave it to the fleet. */
  identity: z.string().max(4096).optional(),
})
export type TargetSecret = z.infer<typeof TargetSecret>
