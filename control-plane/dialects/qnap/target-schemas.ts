import { z } from 'zod'
import { AgeIdentity, AgeRecipient } from '../../../shared/age-keys.ts'
import { TargetPath } from '../../../shared/point-spec.ts'
import { S3TargetConfig, SftpTargetConfig, TargetSecret, WebdavTargetConfig } from '../../../shared/target-config.ts'
import { NumberedId } from './numbered-id.ts'
import { parseAddress } from './target-address.ts'

const ADDRESS_MAX = 300
const DESC_MAX = 1_000
const RECIPIENTS_MAX = 20

const PROTOCOLS = ['webdav', 'sftp', 's3'] as const
const VERIFICATIONS = ['reread', 'server'] as const

const Name = WebdavTargetConfig.shape.name.meta({ example: 'testsite' })
const Address = z
  .string()
  .min(1, 'must not be empty')
  .max(ADDRESS_MAX)
  .refine((text) => parseAddress(text) !== undefined, 'must be like nas.example or 192.0.2.7:5000')
  .meta({ example: '127.0.0.1:5000', description: 'The port is that of the protocol unless said' })

/** Never shown again. */
function writeOnly<Schema extends z.ZodType>(schema: Schema, description: string): Schema {
  return schema.meta({ description, writeOnly: true, format: 'password' })
}

const Password = writeOnly(TargetSecret.shape.password.unwrap(), 'Of s3 the secret access key')

/** An identity, or `''` to take it away. */
const ClearableIdentity = z
  .string()
  .max(4096)
  .superRefine((text, context) => {
    const fault = text === '' ? undefined : AgeIdentity.safeParse(text).error?.issues[0]?.message
    if (fault !== undefined) context.addIssue({ code: 'custom', message: fault, input: undefined })
  })

/** All that a target may be given; none of it is needed to change one. */
const members = {
  name: Name.optional(),
  ipaddr: Address.optional(),
  desc: z.string().max(DESC_MAX).optional(),
  username: z.string().max(255).optional().meta({ description: 'Of s3 the access key id', example: 'admin' }),
  password: Password.optional(),
  base: WebdavTargetConfig.shape.base.unwrap().optional().meta({ example: '/' }),
  encrypt: z
    .boolean()
    .optional()
    .meta({ description: 'https. Unless said webdav has it not, and s3 has it; sftp always is' }),
  protocol: z.enum(PROTOCOLS).optional().meta({ description: 'webdav unless said' }),
  bucket: S3TargetConfig.shape.bucket.optional(),
  region: S3TargetConfig.shape.region.unwrap().optional(),
  path_style: z
    .boolean()
    .optional()
    .meta({ description: '`https://host/bucket/key`; unless said only where the host is an address' }),
  host_key: SftpTargetConfig.shape.hostKey
    .unwrap()
    .optional()
    .meta({ description: 'Absent when it is made: what the server shows then' }),
  ca: WebdavTargetConfig.shape.ca.unwrap().optional().meta({ description: 'Authorities to trust, PEM' }),
  verify: z.enum(VERIFICATIONS).optional(),
  recipients: z
    .array(AgeRecipient)
    .max(RECIPIENTS_MAX)
    .optional()
    .meta({ description: 'age recipients: with any, new backups are encrypted' }),
  private_key: writeOnly(TargetSecret.shape.privateKey.unwrap(), 'Of sftp').optional(),
  passphrase: writeOnly(TargetSecret.shape.passphrase.unwrap(), 'Of the private key').optional(),
  identity: writeOnly(ClearableIdentity, "Opens what the recipients may read; `''` takes it off the fleet").optional(),
}

export const ChangeTargetBody = z.object(members)
export type ChangeTargetBody = z.infer<typeof ChangeTargetBody>

export const CreateTargetBody = z
  .object({
    ...members,
    name: Name,
    ipaddr: Address,
    username: z.string().max(255).meta({ example: 'admin' }),
    password: Password.optional().meta({ description: 'Required, but of sftp with a private key' }),
  })
  .superRefine((body, context) => {
    const demand = (name: keyof typeof body) => {
      if (body[name] === undefined)
        context.addIssue({ code: 'custom', path: [name], message: 'is required', input: body })
    }
    if (body.private_key === undefined) demand('password')
    if (body.protocol === 's3') demand('bucket')
  })
export type CreateTargetBody = z.infer<typeof CreateTargetBody>

/** The documented members; further ones only where a target is not as the document has them. */
export const TargetView = z.object({
  base: z.string().meta({ example: '/' }),
  desc: z.string().meta({ example: '' }),
  encrypt: z.boolean(),
  id: z.number().int().meta({ example: 1 }),
  ipaddr: z.string().meta({ example: '127.0.0.1:5000' }),
  name: z.string().meta({ example: 'testsite' }),
  username: z.string().meta({ example: 'admin' }),
  protocol: z.enum(['local', ...PROTOCOLS]).optional(),
  bucket: z.string().optional(),
  region: z.string().optional(),
  path_style: z.boolean().optional(),
  host_key: z.string().optional(),
  ca: z.string().optional(),
  verify: z.enum(VERIFICATIONS).optional(),
  recipients: z.array(z.string()).optional(),
})
export type TargetView = z.infer<typeof TargetView>

export const TargetList = z.array(TargetView)
export const AliveView = z.object({ alive: z.boolean() })

/** Slashes around it, and doubled ones, do not matter. */
const Folder = z
  .string()
  .transform((path) => path.split('/').filter(Boolean).join('/'))
  .pipe(TargetPath)
  .meta({ description: 'May hold slashes' })

export const FolderOfTarget = NumberedId.extend({ path: Folder })
export const LocalFolder = z.object({ path: Folder })
export const LocalQuery = z.object({
  host: z.string().min(1).max(100).optional().meta({ description: 'Whose folders; needed where there are several' }),
})

export const EntryView = z.object({
  is_dir: z.boolean(),
  name: z.string(),
  type: z.enum(['d', 'f', 'b']).meta({ description: 'A directory, a file, or a backup record' }),
  write: z.boolean().meta({ description: 'Whether the caller may have backups put there' }),
  points: z.array(z.string()).optional().meta({ description: 'Of a backup record, newest first' }),
})
export type EntryView = z.infer<typeof EntryView>

export const EntryList = z.array(EntryView)
