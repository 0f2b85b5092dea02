import { z } from 'zod'
import { HostName, Id } from './ids.ts'
import { Held, Hold, InstanceDestination, InstanceMade, InstancePlace } from './instance-spec.ts'
import { TargetConfig } from './target-config.ts'
import { LunConnection, SnapshotName, VolumePlace, VolumeSize } from './volume-spec.ts'

/** Segments below the base of a target; none of them `.`, `..` or hidden. */
export const TargetPath = z
  .string()
  .max(1024)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is refused
  .regex(/^[^\u0000-\u001f\u007f\\]*$/, 'must not hold control characters or backslashes')
  .refine(
    (path) => path.split('/').every((segment) => !segment.startsWith('.') && Buffer.byteLength(segment) <= 200),
    "no part of it may begin with '.' or be over 200 bytes",
  )

/** When a point was ordered, in UTC: the name of its directory. */
export const PointName = z.string().regex(/^\d{8}T\d{6}Z$/, 'must be like 20260131T235959Z')

/** A target as an order carries it. Its secret is sealed beside the order, for its agent alone. */
export const OrderTarget = z.object({
  /** Null: the backup root of the host. */
  id: Id.nullable(),
  config: TargetConfig,
  secretId: Id.nullable(),
  /** age recipients; with any, points are encrypted. */
  recipients: z.array(z.string()).default([]),
})
export type OrderTarget = z.infer<typeof OrderTarget>

const Sha256 = z.string().regex(/^[0-9a-f]{64}$/)

const PointRef = z.object({
  id: Id,
  name: PointName,
  /** Of its `sums` as it was written; absent for points of agents that did not tell it. */
  sumsSha256: Sha256.optional(),
})
export type PointRef = z.infer<typeof PointRef>

/** A series is a directory of a target; each of its points is a directory in it. */
const inSeries = { target: OrderTarget, series: TargetPath, pointId: Id }

/** A point with all that it needs to be read: its bases, oldest first, then itself. */
const readable = { ...inSeries, chain: z.array(PointRef).min(1).max(1000) }
export const ReadablePoint = z.object(readable)
export type ReadablePoint = z.infer<typeof ReadablePoint>

const DatasetPlace = z.object({ pool: HostName, dataset: Id })

/** A file's path in a point: without a leading slash, as it is displayed; `''` is the root. */
export const MemberPath = z.string().max(16_384)

function namesMember(base64: string): boolean {
  const segments = Buffer.from(base64, 'base64').toString('latin1').split('/')
  return segments.every((segment) => !['', '.', '..'].includes(segment) && !segment.includes('\0'))
}

/** The bytes of such a path, without slashes around it. */
export const MemberBytes = z
  .base64()
  .max(16_384)
  .refine(namesMember, "must be the bytes of a path, without '.', '..', doubled slashes or slashes around it")

/** A path that is text, or the bytes of one that is none. */
export const MemberName = z.union([MemberPath, z.object({ base64: MemberBytes })])
export type MemberName = z.infer<typeof MemberName>

export const CreatePointSpec = z.object({
  kind: z.literal('point.create'),
  ...inSeries,
  name: PointName,
  source: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('dataset'), place: DatasetPlace }),
    /** An absolute directory below the agent's allow-list. */
    z.object({ kind: z.literal('path'), path: z.string().min(1).max(4096) }),
    z.object({
      kind: z.literal('instance'),
      place: InstancePlace,
      hold: Hold,
      /**
       * Snapshots of datasets, in their pools, that were taken at one instant: where all of it lies in those it is read from them, and not
       * held again. Nobody deletes them meanwhile.
       */
      snapshots: z
        .array(z.object({ dataset: Id, snapshot: Id }))
        .max(100)
        .optional(),
    }),
    /** As it is, or as it was at one of its snapshots. */
    z.object({ kind: z.literal('volume'), place: VolumePlace, snapshot: SnapshotName.optional() }),
    /** All of it, which nobody writes meanwhile: a snapshot that another service lends. */
    z.object({ kind: z.literal('lun'), connection: LunConnection, sizeBytes: VolumeSize }),
  ]),
  /** The points that it may complete, oldest first; empty for a full one. */
  bases: z.array(PointRef).max(1000),
  /** Why it is a full one although an increment was asked for. */
  fullReason: z.string().nullable(),
  /** The chain is long enough: what is written is a full archive made of the bases and what changed. */
  consolidate: z.boolean(),
  compression: z.enum(['zstd', 'none']),
  /** Told in `backup-metadata`, for people. */
  about: z.record(z.string(), z.string()),
})
export const VerifyPointSpec = z.object({ kind: z.literal('point.verify'), ...readable })
export const RehearsePointSpec = z.object({
  kind: z.literal('point.rehearse'),
  ...readable,
  /** Where it is restored for a moment, by the agent's own name. */
  pool: HostName,
})
export const RestorePointSpec = z.object({
  kind: z.literal('point.restore'),
  ...readable,
  /** Empty: the whole point. One: that file or directory becomes the destination. More: the destination becomes a directory of them. */
  paths: z.array(MemberName).max(1000),
  destination: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('dataset'), place: DatasetPlace, path: z.string().min(1).max(4096) }),
    z.object({ kind: z.literal('host'), path: z.string().min(1).max(4096) }),
    /** A dataset that is made for it; only the whole point. */
    z.object({ kind: z.literal('new'), place: DatasetPlace }),
    /** The same, and an instance on it. */
    InstanceDestination,
  ]),
  overwrite: z.boolean().optional(),
})
/** A point of a volume as a volume: made beside its place and put there by one rename, with its content as large as the point's. */
export const RestoreVolumeSpec = z.object({
  kind: z.literal('volume.restore'),
  ...readable,
  place: VolumePlace,
  /** `over`: another volume takes the place of the one that stands there, which nobody may have open. */
  mode: z.enum(['new', 'over']),
  /** At least as large as this; what the point does not hold of it is zeros. */
  sizeBytes: VolumeSize.optional(),
  createParent: z.boolean(),
  /** The fleet's row of the volume. */
  volumeId: Id.optional(),
})
/** A point over a LUN that another service lends and nobody else uses: what the point does not hold of it becomes zeros. */
export const RestoreLunSpec = z.object({
  kind: z.literal('lun.restore'),
  ...readable,
  connection: LunConnection,
  /** Of the LUN: at least the point's. */
  sizeBytes: VolumeSize,
})
export const DeletePointSpec = z.object({
  kind: z.literal('point.delete'),
  ...inSeries,
  name: PointName,
  /** Its order failed: what stands there under its name goes only where the target tells that it is this point. */
  failed: z.boolean().optional(),
  /** It may lie in the target's trash. */
  trashed: z.boolean().optional(),
  sumsSha256: Sha256.optional(),
})

/** `sumsSha256`: as in a PointRef. */
const movable = { ...inSeries, name: PointName, sumsSha256: Sha256.optional() }
/** Out of its series into the target's trash, with what is told of it. */
export const TrashPointSpec = z.object({ kind: z.literal('point.trash'), ...movable })
export const UntrashPointSpec = z.object({ kind: z.literal('point.untrash'), ...movable })

const count = z.number().int().nonnegative()

/** A file that could not be read, or not as one state; or a socket, which is no content and is left out. */
export const PointProblem = z.object({ path: z.string(), reason: z.string() })
export type PointProblem = z.infer<typeof PointProblem>

export const PointMade = z.object({
  /** Whether it stands alone. */
  full: z.boolean(),
  /** Why it is a full one although it was to be an increment. */
  fullReason: z.string().nullable(),
  /** Made of the archives of its chain. */
  synthetic: z.boolean(),
  members: count,
  /** Of the content of files in this archive. */
  sourceBytes: count,
  /** On the target, all files of the point together. */
  storedBytes: count,
  consistency: z.enum(['crash', 'fuzzy']),
  /** Of an instance that was held. */
  held: Held.optional(),
  encrypted: z.boolean(),
  /** Of its `sums`: kept apart from the target, so that nobody there can pass another point off as this one. */
  sumsSha256: Sha256.optional(),
  /** Without sockets. Any makes the point PARTIAL. */
  problemCount: count,
  /** The first thousand, with the sockets that were met behind them. */
  problems: z.array(PointProblem).max(1000),
})
export type PointMade = z.infer<typeof PointMade>

export const PointVerified = z.object({ files: count, bytes: count })
export type PointVerified = z.infer<typeof PointVerified>

/** `seconds`: from the first byte read to the last one written and synced. */
export const PointRehearsed = z.object({ files: count, bytes: count, seconds: z.number().nonnegative() })
export type PointRehearsed = z.infer<typeof PointRehearsed>

export const PointRestored = z.object({
  files: count,
  bytes: count,
  /** Of a destination that was made for it. */
  made: z.object({ rootInode: count, mountpoint: z.string() }).optional(),
  instance: InstanceMade.optional(),
})
export type PointRestored = z.infer<typeof PointRestored>

export const PointDeleted = z.object({})
/** To the trash or back. */
export const PointMoved = z.object({})
