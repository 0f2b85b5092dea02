import { z } from 'zod'
import { AgeIdentity, AgeRecipient } from '../../../shared/age-keys.ts'
import {
  S3TargetConfig,
  SftpTargetConfig,
  TargetLimits,
  TargetSecret,
  WebdavTargetConfig,
} from '../../../shared/target-config.ts'
import { pageOf, Timestamp } from './schemas.ts'

const DESCRIPTION_MAX = 1_000
const RECIPIENTS_MAX = 20

const webdav = WebdavTargetConfig.shape
const sftp = SftpTargetConfig.shape
const s3 = S3TargetConfig.shape
const secret = TargetSecret.shape

/** Never shown again. */
function writeOnly<Schema extends z.ZodType>(schema: Schema, description: string): Schema {
  return schema.meta({ description, writeOnly: true, format: 'password' })
}

const limits = TargetLimits.shape
const window = limits.windows.unwrap().element.shape

const Limits = z
  .object({
    slots: limits.slots,
    bytes_per_second: limits.bytesPerSecond.meta({ description: 'Outside of every window; absent: no limit' }),
    windows: z
      .array(z.object({ days: window.days, from: window.from, to: window.to, bytes_per_second: window.bytesPerSecond }))
      .max(64)
      .default([])
      .meta({
        description: 'Days (0 is Sunday) and local times with a limit of their own; the first that matches wins',
      }),
    timezone: limits.timezone.meta({ example: 'Europe/Berlin' }),
  })
  .meta({ description: 'Of one agent, both directions together. Given at all, it is given whole.' })

const Recipients = z
  .array(AgeRecipient)
  .max(RECIPIENTS_MAX)
  .meta({ description: 'Who may read (`age1…`): with any, new points are encrypted' })

const identity = writeOnly(
  AgeIdentity,
  'Opens what `recipients` may read: only for those who let the fleet verify, browse and restore by itself',
)

/** What every protocol has. */
const common = {
  name: webdav.name,
  description: z.string().max(DESCRIPTION_MAX).optional(),
  limits: Limits.optional(),
  recipients: Recipients.optional(),
  identity: identity.optional(),
}

const password = writeOnly(secret.password.unwrap(), 'Of S3: the secret access key')
const privateKey = writeOnly(secret.privateKey.unwrap(), 'OpenSSH or PEM')
const passphrase = writeOnly(secret.passphrase.unwrap(), 'Of the private key')
const Port = webdav.port
const base = webdav.base.unwrap()
const ca = webdav.ca.unwrap().meta({ description: 'Authorities to trust instead of the public ones, PEM' })
const hostKey = sftp.hostKey.unwrap().meta({ description: 'Absent when it is made: what the server shows then' })
const encrypt = z.boolean().meta({ description: 'https; true unless said' })

const WebdavBody = z.object({
  ...common,
  protocol: z.literal('webdav'),
  host: webdav.host,
  port: Port.optional().meta({ description: '443, without encryption 80' }),
  encrypt: encrypt.optional(),
  base: base.optional(),
  username: webdav.username,
  ca: ca.optional(),
  verify: webdav.verify.unwrap().optional(),
  password: password.optional(),
})

const SftpBody = z.object({
  ...common,
  protocol: z.literal('sftp'),
  host: sftp.host,
  port: Port.optional().meta({ description: '22' }),
  base: base.optional(),
  username: sftp.username,
  host_key: hostKey.optional(),
  verify: sftp.verify.unwrap().optional(),
  password: password.optional(),
  private_key: privateKey.optional(),
  passphrase: passphrase.optional(),
})

const S3Body = z.object({
  ...common,
  protocol: z.literal('s3'),
  host: s3.host,
  port: Port.optional().meta({ description: '443, without encryption 80' }),
  encrypt: encrypt.optional(),
  region: s3.region.unwrap().optional(),
  bucket: s3.bucket,
  path_style: s3.pathStyle
    .unwrap()
    .optional()
    .meta({ description: '`https://host/bucket/key`; unless said only where the host is an address' }),
  base: base.optional(),
  access_key_id: s3.accessKeyId,
  ca: ca.optional(),
  verify: s3.verify.unwrap().optional(),
  password: password.optional(),
})

export const CreateTargetBody = z.discriminatedUnion('protocol', [WebdavBody, SftpBody, S3Body])
export type CreateTargetBody = z.infer<typeof CreateTargetBody>

const CREATED_PROTOCOLS = ['webdav', 'sftp', 's3'] as const

/** An identity, or `''` to take it away. */
const ClearableIdentity = z
  .string()
  .max(4096)
  .superRefine((text, context) => {
    const fault = text === '' ? undefined : AgeIdentity.safeParse(text).error?.issues[0]?.message
    if (fault !== undefined) context.addIssue({ code: 'custom', message: fault, input: undefined })
  })

/** What is absent stays as it is. */
export const ChangeTargetBody = z.object({
  name: common.name.optional(),
  description: common.description,
  protocol: z.enum(CREATED_PROTOCOLS).optional(),
  host: webdav.host.optional(),
  port: Port.optional(),
  encrypt: z.boolean().optional(),
  base: base.optional(),
  username: webdav.username.optional(),
  ca: ca.nullish(),
  host_key: hostKey.optional(),
  region: s3.region.unwrap().optional(),
  bucket: s3.bucket.optional(),
  path_style: s3.pathStyle.unwrap().optional(),
  access_key_id: s3.accessKeyId.optional(),
  verify: webdav.verify.unwrap().optional(),
  limits: Limits.optional(),
  recipients: common.recipients,
  password: password.optional(),
  private_key: privateKey.optional(),
  passphrase: passphrase.optional(),
  identity: writeOnly(ClearableIdentity, "`''` takes it off the fleet").optional(),
})
export type ChangeTargetBody = z.infer<typeof ChangeTargetBody>

export const TargetView = z.object({
  id: z.uuid(),
  number: z.number().int().meta({ description: 'Its id where ids are integers' }),
  group_id: z.uuid(),
  name: z.string(),
  description: z.string(),
  protocol: z.enum(['local', ...CREATED_PROTOCOLS]),
  base: z.string(),
  limits: z.object({
    slots: z.number().int(),
    bytes_per_second: z.number().int().optional(),
    windows: z.array(
      z.object({
        days: z.array(z.number().int()),
        from: z.string(),
        to: z.string(),
        bytes_per_second: z.number().int().optional(),
      }),
    ),
    timezone: z.string(),
  }),
  verify: z.enum(['reread', 'server']),
  host: z.string().optional(),
  port: z.number().int().optional(),
  encrypt: z.boolean().optional(),
  username: z.string().optional(),
  ca: z.string().optional(),
  host_key: z.string().optional(),
  region: z.string().optional(),
  bucket: z.string().optional(),
  path_style: z.boolean().optional(),
  access_key_id: z.string().optional(),
  has_secret: z.boolean().meta({ description: 'The secret itself is never shown' }),
  recipients: z.array(z.string()),
  has_identity: z.boolean(),
  created_at: Timestamp,
})
export type TargetView = z.infer<typeof TargetView>

export const TargetPage = pageOf(TargetView)

export const HealthView = z.object({
  alive: z.boolean(),
  reason: z.string().nullable().meta({ description: 'Why not, for people' }),
  free_bytes: z.number().nullable().meta({ description: 'Null where the protocol does not tell' }),
})
export type HealthView = z.infer<typeof HealthView>

export const EntryView = z.object({
  name: z.string(),
  type: z.enum(['file', 'directory', 'other']),
  size_bytes: z.number(),
  modified_at: z.string().nullable(),
  points: z
    .array(z.string())
    .optional()
    .meta({ description: 'Of a directory that holds points: their names, newest first' }),
})
export type EntryView = z.infer<typeof EntryView>

export const EntryPage = pageOf(EntryView)
