import { z } from 'zod'
import { HostName, Id, ResourceName } from './ids.ts'

/** A volume below its pool: names of datasets, joined by `/`, at most 230 characters, so that a host's own prefix has room. */
export const VolumePath = z
  .string()
  .max(230, 'must be at most 230 characters')
  .refine((path) => path.split('/').every((name) => ResourceName.safeParse(name).success), {
    message:
      "must be names of letters, digits, '.', '_', ':' and '-', each beginning with a letter or digit, joined by '/'",
  })

export const SnapshotName = ResourceName

/** `volume` is below the agent's own name of the pool. */
export const VolumePlace = z.object({ pool: HostName, volume: VolumePath })
export type VolumePlace = z.infer<typeof VolumePlace>

export const VolumeSnapshotPlace = VolumePlace.extend({ snapshot: SnapshotName })
export type VolumeSnapshotPlace = z.infer<typeof VolumeSnapshotPlace>

/** Sectors are 512 bytes; ZFS wants its volumes in blocks. */
export const VOLUME_GRAIN_BYTES = 65_536
export const MAX_VOLUME_BYTES = 2 ** 50
export const VolumeSize = z
  .number()
  .int()
  .min(VOLUME_GRAIN_BYTES, `must be at least ${VOLUME_GRAIN_BYTES}`)
  .max(MAX_VOLUME_BYTES, `must be at most ${MAX_VOLUME_BYTES}`)

/**
 * An iSCSI name in lower case, as initiators compare it: `iqn.`, a month, a reversed domain, and whatever its owner chose; or `eui.`
 * and `naa.` with hex digits. 223 bytes at most. Source: RFC 3720, 3.2.6; RFC 3980; RFC 3722.
 */
export const IscsiName = z
  .string()
  .max(223, 'must be at most 223 characters')
  .transform((name) => name.toLowerCase())
  .refine((name) => ISCSI_NAMES.some((form) => form.test(name)), {
    message: 'must be an iSCSI name: iqn.YYYY-MM.domain[:text], eui.<16 hex digits> or naa.<16 or 32 hex digits>',
  })
const ISCSI_NAMES = [
  /^iqn\.\d{4}-(0[1-9]|1[0-2])\.[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:[a-z0-9.:-]+)?$/,
  /^eui\.[0-9a-f]{16}$/,
  /^naa\.([0-9a-f]{16}|[0-9a-f]{32})$/,
]

/** More in one call are refused. */
export const MAX_ELEMENTS = 1_000
const MAX_INITIATORS = 256

/** Who may log in, and with which name where a secret is asked for. Never empty: nobody means an export to everybody. */
export const ExportAccess = z.object({
  initiators: z.array(IscsiName).min(1, 'must name at least one initiator').max(MAX_INITIATORS),
  /** CHAP: the initiator's user name; the secret travels sealed beside the order. */
  chapUser: z.string().min(1).max(223).nullable(),
  /** The target itself refuses what would change the volume. Absent: it may be written to. */
  isReadonly: z.boolean().optional(),
})
export type ExportAccess = z.infer<typeof ExportAccess>

/** What travels sealed beside an order about exports, as JSON: the CHAP secret of each wwn whose access has a `chapUser`. */
export const ExportSecrets = z.record(z.string(), z.string().min(1).max(255))
export type ExportSecrets = z.infer<typeof ExportSecrets>

/** What the fleet calls its row of the volume, or of the snapshot where the order is about one; agents have no use for it. */
const known = { volumeId: Id.optional() }

export const CreateVolumeSpec = z.object({
  kind: z.literal('volume.create'),
  place: VolumePlace,
  sizeBytes: VolumeSize,
  createParent: z.boolean(),
  ...known,
})
export const CloneVolumeSpec = z.object({
  kind: z.literal('volume.clone'),
  source: VolumeSnapshotPlace,
  place: VolumePlace,
  createParent: z.boolean(),
  /** It grows to this before anybody sees it; absent: as large as its source. */
  sizeBytes: VolumeSize.optional(),
  /** The snapshot goes once the clone stands, where the pool's clones can do without. */
  discardSource: z.boolean().optional(),
  ...known,
})
export const SnapshotVolumeSpec = z.object({ kind: z.literal('volume.snapshot'), place: VolumeSnapshotPlace, ...known })
/** Never smaller. */
export const ResizeVolumeSpec = z.object({
  kind: z.literal('volume.resize'),
  place: VolumePlace,
  sizeBytes: VolumeSize,
  ...known,
})
/** A volume, or one of its snapshots. Never recursive; what is not there is deleted already. */
export const DeleteVolumeSpec = z.object({
  kind: z.literal('volume.delete'),
  place: VolumePlace.extend({ snapshot: SnapshotName.optional() }),
  ...known,
})
/**
 * The volume becomes what it was at the snapshot, in one step: a clone of it takes its place. What it was before stays as the snapshot
 * `safety`, and so do all newer snapshots.
 */
export const RollbackVolumeSpec = z.object({
  kind: z.literal('volume.rollback'),
  place: VolumeSnapshotPlace,
  safety: SnapshotName,
  /** The fleet's row of the safety snapshot. */
  safetyId: Id.optional(),
  ...known,
})

/** One volume cloned, if it is not there, and exported. All of an order are on one host. */
export const ExportElement = z.object({
  /** Of the client's list, from 0. */
  n: z.number().int().nonnegative(),
  /** Null: the volume is there already. */
  source: VolumeSnapshotPlace.nullable(),
  place: VolumePlace,
  /** Parents are made where they are missing. */
  createParent: z.boolean(),
  wwn: IscsiName,
  access: ExportAccess,
  exportId: Id,
  ...known,
})
export type ExportElement = z.infer<typeof ExportElement>

export const CreateExportsSpec = z.object({
  kind: z.literal('export.create'),
  elements: z.array(ExportElement).min(1).max(MAX_ELEMENTS),
})

export const UnexportElement = z.object({
  n: z.number().int().nonnegative(),
  wwn: IscsiName,
  place: VolumePlace,
  /** The volume goes too. */
  deleteVolume: z.boolean(),
  /** Sessions are closed; without it an export with one is `in use`. */
  force: z.boolean(),
  exportId: Id.optional(),
  ...known,
})
export type UnexportElement = z.infer<typeof UnexportElement>

export const DeleteExportsSpec = z.object({
  kind: z.literal('export.delete'),
  elements: z.array(UnexportElement).min(1).max(MAX_ELEMENTS),
})

/** What a host is to export, as the fleet's truth has it: anything else that the agent made goes. */
export const WantedExport = z.object({
  exportId: Id,
  wwn: IscsiName,
  place: VolumePlace,
  access: ExportAccess,
})
export type WantedExport = z.infer<typeof WantedExport>
export const ReconcileExportsSpec = z.object({
  kind: z.literal('export.reconcile'),
  exports: z.array(WantedExport).max(100_000),
})

export const VolumeMade = z.object({
  sizeBytes: z.number().int().nonnegative(),
  /** Absolute path on its host: the zvol's block device, or the raw image. */
  device: z.string(),
  /** Never given twice on a host, also when a volume of the same name is made again. */
  guid: z.string(),
  /** No data byte was copied. */
  cow: z.boolean(),
})
export type VolumeMade = z.infer<typeof VolumeMade>

export const VolumeCloned = VolumeMade.extend({
  /** It rests on its snapshot no more. */
  isParted: z.boolean().optional(),
  /** Which is gone. */
  isSourceGone: z.boolean().optional(),
})
export type VolumeCloned = z.infer<typeof VolumeCloned>

export const VolumeSnapshotMade = z.object({ guid: z.string(), sizeBytes: z.number().int().nonnegative() })
export type VolumeSnapshotMade = z.infer<typeof VolumeSnapshotMade>

/** `volume` has another guid than before: another image has its name. */
export const VolumeRolledBack = z.object({ volume: VolumeMade, safety: VolumeSnapshotMade })
export type VolumeRolledBack = z.infer<typeof VolumeRolledBack>

export const VolumeRestored = z.object({
  volume: VolumeMade,
  /** Read from the point. */
  bytes: z.number().int().nonnegative(),
})
export type VolumeRestored = z.infer<typeof VolumeRestored>

export const VolumeDeleted = z.object({})

/** `code` as in a FleetError: `not_found`, `conflict`, `exists`, `no_space`, … */
const ElementError = z.object({ n: z.number().int().nonnegative(), code: z.string(), message: z.string() })

/** Seconds of each phase, of all elements together. */
const ExportTimes = z.object({
  cloneSeconds: z.number().nonnegative(),
  /** Waiting for device links. */
  deviceSeconds: z.number().nonnegative(),
  targetSeconds: z.number().nonnegative(),
})

/** A job with failed elements succeeds all the same: what it did stays, and `errors` says which did not. */
export const ExportsCreated = z.object({
  done: z.array(
    z.object({
      n: z.number().int().nonnegative(),
      volume: VolumeMade,
      /** The volume was there already, cloned from the same snapshot. */
      reused: z.boolean(),
      /** And was written to since. */
      diverged: z.boolean(),
    }),
  ),
  errors: z.array(ElementError),
  times: ExportTimes,
})
export type ExportsCreated = z.infer<typeof ExportsCreated>

export const ExportsDeleted = z.object({
  done: z.array(z.object({ n: z.number().int().nonnegative() })),
  /** `unexported`: the export itself is gone, and only its volume stayed. */
  errors: z.array(ElementError.extend({ unexported: z.boolean() })),
  times: ExportTimes,
})
export type ExportsDeleted = z.infer<typeof ExportsDeleted>

export const ExportsReconciled = z.object({
  made: z.number().int().nonnegative(),
  removed: z.number().int().nonnegative(),
  /** Exports that could not be made, by wwn: their volume is not there. */
  errors: z.array(z.object({ wwn: z.string(), code: z.string(), message: z.string() })),
})
export type ExportsReconciled = z.infer<typeof ExportsReconciled>

/**
 * A LUN of a storage service that is none of ours, which an agent logs in to by itself. CHAP's secret travels sealed beside the
 * order (`LunSecret`, in one box with the target's), never in it. Source of the limits: RFC 3720 (names), SAM-5 (numbers of LUNs).
 */
export const LunConnection = z.object({
  /** `host:port`, any of which leads to it; tried in turn. */
  portals: z.array(z.string().min(3).max(300)).min(1).max(16),
  targetName: z.string().min(1).max(223),
  lun: z.number().int().min(0).max(16_383),
  /** As whom the agent logs in. */
  initiator: IscsiName,
  /** `secretId`: of the fleet's kept secrets; null where nothing is asked for. */
  chap: z.object({ user: z.string().min(1).max(223), secretId: Id }).nullable(),
})
export type LunConnection = z.infer<typeof LunConnection>

/** What of the box beside an order is the LUN's; the rest of it is the target's `TargetSecret`. */
export const LunSecret = z.object({ chapSecret: z.string().min(1).max(255).optional() })
export type LunSecret = z.infer<typeof LunSecret>

export const LunRestored = z.object({
  /** Read from the point. */
  bytes: z.number().int().nonnegative(),
})
export type LunRestored = z.infer<typeof LunRestored>
