import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { IscsiName } from '../../shared/volume-spec.ts'
import { GIB } from '../core/block-rules.ts'
import type { LentLun, LentSnapshot, LentVolume } from '../core/lending.ts'

/** Answers of the Block Storage API v3; members that nobody here needs are left out. */
const Size = z.number().int().positive()

const Volume = z
  .object({
    id: z.string(),
    name: z.string().nullable(),
    status: z.string(),
    size: Size,
    encrypted: z.boolean().default(false),
    metadata: z.record(z.string(), z.string()).default({}),
    'os-vol-tenant-attr:tenant_id': z.string().nullable().default(null),
  })
  .transform(
    (one): LentVolume => ({
      ...{ id: one.id, name: one.name, status: one.status, sizeBytes: one.size * GIB },
      ...{ project: one['os-vol-tenant-attr:tenant_id'], isEncrypted: one.encrypted },
      metadata: one.metadata,
    }),
  )
export const OneVolume = z.object({ volume: Volume })
export const Volumes = z.object({ volumes: z.array(Volume) })
/** Of a new one: shown on as it is. */
export const MadeVolume = z.object({ volume: z.looseObject({ id: z.uuid() }) })

const Snapshot = z
  .object({
    id: z.string(),
    name: z.string().nullable().default(null),
    volume_id: z.string(),
    status: z.string(),
    size: Size,
    created_at: z.string(),
  })
  .transform(
    ({ id, name, status, ...one }): LentSnapshot => ({
      ...{ id, name, volumeId: one.volume_id, status, sizeBytes: one.size * GIB, createdAt: one.created_at },
    }),
  )
export const OneSnapshot = z.object({ snapshot: Snapshot })
export const Snapshots = z.object({ snapshots: z.array(Snapshot) })

const Portal = z.string().min(3).max(300)
const Lun = z.number().int().min(0).max(16_383)
const Connection = z.object({
  connection_info: z.object({
    driver_volume_type: z.string(),
    data: z.looseObject({ encrypted: z.boolean().nullish() }),
  }),
})
/** Source: os-brick's iSCSI connector: several paths stand beside the one. */
const Iscsi = z.object({
  target_portal: Portal,
  target_iqn: z.string().min(1).max(223),
  target_lun: Lun,
  target_portals: z.array(Portal).optional(),
  target_iqns: z.array(z.string()).optional(),
  target_luns: z.array(Lun).optional(),
  auth_method: z.string().nullish(),
  auth_username: z.string().min(1).max(223).nullish(),
  auth_password: z.string().min(1).max(255).nullish(),
})
const MAX_PORTALS = 16

/** @throws refused: it is not what an agent can log in to; unavailable: it cannot be understood */
export function lunOf(answer: unknown, initiator: string): LentLun {
  const { connection_info: info } = shaped(Connection, answer)
  if (info.driver_volume_type !== 'iscsi')
    throw new FleetError('refused', `the block service lends volumes by '${info.driver_volume_type}', not by iSCSI`)
  if (info.data.encrypted) throw new FleetError('refused', 'the block service lends that volume encrypted')
  const data = shaped(Iscsi, info.data)
  const { target_iqn: targetName, target_lun: lun, auth_method: method } = data
  const portals = (data.target_portals ?? []).filter(
    (_, n) => (data.target_iqns?.[n] ?? targetName) === targetName && (data.target_luns?.[n] ?? lun) === lun,
  )
  const { auth_username: user, auth_password: secret } = data
  if (method && (method !== 'CHAP' || !user || !secret))
    throw new FleetError(
      'refused',
      `the block service wants '${method}' of who logs in, which is not CHAP with a secret`,
    )
  return {
    ...{ portals: [...new Set([data.target_portal, ...portals])].slice(0, MAX_PORTALS), targetName, lun },
    initiator: IscsiName.parse(initiator),
    chap: user && secret ? { user, secret } : null,
  }
}

/** @throws unavailable. What was answered is not quoted: it may hold a secret. */
export function shaped<Shape extends z.ZodType>(shape: Shape, answer: unknown): z.output<Shape> {
  const parsed = shape.safeParse(answer)
  if (parsed.success) return parsed.data
  const where = parsed.error.issues[0]?.path.join('.') ?? ''
  throw new FleetError(
    'unavailable',
    `the block service behind this one answered something else than it should (${where})`,
  )
}
