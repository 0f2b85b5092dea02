import { z } from 'zod'

const TEXT_MAX = 255

/** A wrong id is not found, whatever it looks like. */
const id = z.string().meta({ example: '01a1fed2-42cc-7572-a6d1-099861d6e722' })
const project = z.string().meta({ description: "The group's id or name: for whom the caller acts", example: 'default' })

export const ProjectParams = z.object({ project })
export const ProjectItem = z.object({ project, id })
export const ProjectItemKey = z.object({ project, id, key: z.string() })
export const NoParams = z.object({})
export const ItemParams = z.object({ id })

/** As Python's clients write it too. */
export const Flag = z
  .union([z.boolean(), z.literal([0, 1]), z.string().regex(/^(1|0|t|f|true|false|yes|no|y|n|on|off)$/i)], {
    error: 'must be true or false',
  })
  .transform((given) => /^(1|t|true|yes|y|on)$/i.test(String(given)))

const text = z.string().max(TEXT_MAX, `must be at most ${TEXT_MAX} characters`)
const words = { name: text.nullish(), description: text.nullish() }
const Metadata = z.record(z.string(), z.string()).meta({ example: { tier: 'gold' } })

/** Clients that speak of what we do not have send these as null. */
const absent = (what: string) => z.null(`${what} is not offered here`).optional()

const Size = z
  .union([
    z.number(),
    z
      .string()
      .regex(/^\d{1,9}$/, 'must be a whole number')
      .transform(Number),
  ])
  .nullish()
  .meta({ description: 'GiB; as large as what it is made of unless said', example: 1 })

export const CreateVolumeBody = z.object({
  volume: z.object({
    size: Size,
    ...words,
    metadata: Metadata.nullish(),
    volume_type: text.nullish().meta({ description: 'A pool, by name or id; the fleet places it unless said' }),
    availability_zone: z.unknown().optional().meta({ description: 'Not looked at: there is one' }),
    snapshot_id: text.nullish(),
    source_volid: text.nullish(),
    backup_id: text.nullish().meta({ description: "A volume backup's id" }),
    imageRef: absent('making volumes of images'),
    group_id: absent('grouping volumes'),
    consistencygroup_id: absent('grouping volumes'),
    multiattach: z.literal(false, 'a volume is attached once at a time').nullish(),
  }),
})

export const UpdateVolumeBody = z.object({ volume: z.object({ ...words, metadata: Metadata.optional() }) })
export const MetadataBody = z.object({ metadata: Metadata })
export const MetadataItemBody = z.object({ meta: Metadata })

export const CreateSnapshotBody = z.object({
  snapshot: z.object({
    volume_id: text,
    ...words,
    metadata: Metadata.nullish(),
    force: Flag.nullish().meta({ description: 'Also of a volume that is in use: as after a power cut' }),
  }),
})
export const UpdateSnapshotBody = z.object({ snapshot: z.object({ ...words, metadata: Metadata.optional() }) })

export const DeleteVolumeQuery = z.object({
  cascade: Flag.optional().meta({ override: { type: 'boolean' }, description: 'Its snapshots go with it' }),
  force: z.string().optional(),
})

export const Links = z.array(z.object({ rel: z.string(), href: z.string() }))
/** UTC, without a zone. */
const When = z.string().meta({ example: '2026-01-02T03:04:05.678000' })

const summary = { id: z.uuid(), name: z.string().nullable() }
export const VolumeSummary = z.object({ ...summary, links: Links })
export type VolumeSummary = z.infer<typeof VolumeSummary>

const AttachmentView = z.object({
  id: z.uuid().meta({ description: "The volume's" }),
  attachment_id: z.uuid(),
  volume_id: z.uuid(),
  server_id: z.uuid().nullable(),
  host_name: z.string().nullable(),
  device: z.string().nullable(),
  attached_at: When,
})

export const VolumeView = z.object({
  ...summary,
  description: z.string().nullable(),
  status: z.string().meta({ example: 'available' }),
  size: z.int().meta({ description: 'GiB, rounded up' }),
  metadata: z.record(z.string(), z.string()),
  attachments: z.array(AttachmentView),
  created_at: When,
  updated_at: When.nullable(),
  availability_zone: z.string(),
  volume_type: z.string().meta({ description: 'Its pool' }),
  volume_type_id: z.uuid().nullable().meta({ description: "Its pool's; null where nobody could make it" }),
  snapshot_id: z.uuid().nullable(),
  source_volid: z.uuid().nullable(),
  backup_id: z.uuid().nullable(),
  bootable: z.enum(['true', 'false']),
  encrypted: z.boolean(),
  multiattach: z.boolean(),
  shared_targets: z.boolean(),
  service_uuid: z.null(),
  consumes_quota: z.boolean(),
  replication_status: z.null(),
  consistencygroup_id: z.null(),
  migration_status: z.null(),
  user_id: z.null(),
  'os-vol-tenant-attr:tenant_id': z.uuid(),
  'os-vol-host-attr:host': z.string().optional().meta({ description: 'For those with a role over the fleet' }),
  cluster_name: z.null().optional().meta({ description: 'For the same' }),
  links: Links,
})
export type VolumeView = z.infer<typeof VolumeView>

export const SnapshotView = z.object({
  ...summary,
  description: z.string().nullable(),
  status: z.string().meta({ example: 'available' }),
  volume_id: z.uuid(),
  size: z.int().meta({ description: 'GiB, rounded up' }),
  metadata: z.record(z.string(), z.string()),
  created_at: When,
  updated_at: When.nullable(),
  user_id: z.null(),
  consumes_quota: z.boolean(),
  'os-extended-snapshot-attributes:progress': z.string(),
  'os-extended-snapshot-attributes:project_id': z.uuid(),
})
export type SnapshotView = z.infer<typeof SnapshotView>

export const OneVolume = z.object({ volume: VolumeView })
export const OneSnapshot = z.object({ snapshot: SnapshotView })
const count = z.int().optional().meta({ description: 'With `with_count`: on all pages together' })
export const VolumeList = z.object({ volumes: z.array(VolumeView), volumes_links: Links.optional(), count })
export const VolumeSummaryList = z.object({ volumes: z.array(VolumeSummary), volumes_links: Links.optional(), count })
export const SnapshotList = z.object({ snapshots: z.array(SnapshotView), snapshots_links: Links.optional(), count })
export const MetadataView = z.object({ metadata: z.record(z.string(), z.string()) })
export const MetadataItemView = z.object({ meta: z.record(z.string(), z.string()) })

const Fault = z.object({ code: z.int(), message: z.string() })
export const FAULTS = {
  400: 'badRequest',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'itemNotFound',
  405: 'badMethod',
  406: 'notAcceptable',
  409: 'conflictingRequest',
  412: 'preconditionFailed',
  413: 'overLimit',
  422: 'unprocessableEntity',
  503: 'serviceUnavailable',
  504: 'gatewayTimeout',
  507: 'insufficientStorage',
} as const
/** For every status that has no word of its own. */
export const OTHER_FAULT = 'computeFault'
/** One member, whose name says what kind of fault it is. */
export const FaultBody = z.record(z.string(), Fault).meta({
  example: { itemNotFound: { code: 404, message: 'there is no volume 01a1fed2-42cc-7572-a6d1-099861d6e722' } },
})
