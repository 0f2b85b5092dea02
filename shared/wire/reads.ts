import { z } from 'zod'
import { HostName, Id } from '../ids.ts'
import { InstancePlace, InstanceState, InstanceType, ReportedInstance } from '../instance-spec.ts'
import { JobFailure } from '../job-event.ts'
import { MemberName, OrderTarget, ReadablePoint, TargetPath } from '../point-spec.ts'
import { SftpTargetConfig } from '../target-config.ts'
import { IscsiName, VolumePlace } from '../volume-spec.ts'
import { WIRE_VERSION } from './messages.ts'

/** Agents answer within this long, or not at all. */
export const READ_TIMEOUT_MS = 5_000

const page = { cursor: z.string().max(32_768).optional(), limit: z.number().int().min(1).max(1000) }

/** A member of a point as its index tells of it. */
export const PointFile = z.object({
  /** Without a leading slash; bytes that are not UTF-8 are shown as U+FFFD, and `pathBase64` has them. */
  path: z.string(),
  pathBase64: z.string().optional(),
  type: z.enum(['file', 'directory', 'symlink', 'hardlink', 'fifo', 'character', 'block']),
  size: z.number().int().nonnegative(),
  mode: z.number().int().nonnegative(),
  uid: z.number().int().nonnegative(),
  gid: z.number().int().nonnegative(),
  /** Seconds since the epoch with nine decimals. */
  mtime: z.string(),
  link: z.string().optional(),
  sha256: z.string().optional(),
  /** What was wrong while it was read. */
  problem: z.string().optional(),
})
export type PointFile = z.infer<typeof PointFile>

export const TargetEntry = z.object({
  name: z.string(),
  kind: z.enum(['file', 'directory', 'other']),
  sizeBytes: z.number().nonnegative(),
  modifiedAt: z.string().nullable(),
  /** A directory of points: their names, newest first. */
  points: z.array(z.string()).optional(),
})
export type TargetEntry = z.infer<typeof TargetEntry>

/** A type of instances that an agent serves. */
export const ListedType = z.object({
  type: InstanceType,
  /** False: none of it are known since the agent began, so nobody knows which are gone. */
  listed: z.boolean(),
  /** Why they could not be listed the last time, for people: those told are of the time before. */
  problem: z.string().max(500).nullable(),
})
export type ListedType = z.infer<typeof ListedType>

/** As it stands in its pool, whoever made it. Paths and names may be longer than those that may be ordered. */
export const StandingVolume = z.object({
  /** Below the pool. */
  path: z.string().min(1).max(1024),
  sizeBytes: z.number().int().nonnegative(),
  guid: z.string().max(64),
  /** `<path>@<snapshot>` below the pool, as it was called when it was cloned; null: it is no clone. */
  origin: z.string().max(2048).nullable(),
  /** Names, the first 1,000 of them in their order; of more, `isCut`. */
  snapshots: z.array(z.string().max(1024)).max(1000),
  isCut: z.boolean(),
})
export type StandingVolume = z.infer<typeof StandingVolume>

/** One that its agent keeps. */
export const ListedExport = z.object({
  wwn: IscsiName,
  exportId: Id,
  place: VolumePlace,
  /** The target is there and serves that volume; false: it is being made again, or cannot be, its volume being away. */
  standing: z.boolean(),
  /** The first 1,000. */
  sessions: z
    .array(
      z.object({
        initiator: z.string().max(223),
        /** `address:port` where it can be told, or the address alone; else ''. */
        address: z.string().max(300),
      }),
    )
    .max(1000),
})
export type ListedExport = z.infer<typeof ListedExport>

/** What agents are asked: side-effect free. One entry an operation. */
export const READS = {
  'point-files': {
    request: z.object({
      point: ReadablePoint,
      /** A directory whose children are listed; with `search`, where it begins. */
      path: MemberName,
      search: z.string().min(1).max(1000).optional(),
      ...page,
    }),
    answer: z.object({ items: z.array(PointFile), next: z.string().nullable() }),
  },
  'point-diff': {
    request: z.object({ before: ReadablePoint, after: ReadablePoint, ...page }),
    answer: z.object({
      items: z.array(
        z.object({
          kind: z.enum(['added', 'removed', 'content', 'metadata']),
          before: PointFile.nullable(),
          after: PointFile.nullable(),
        }),
      ),
      next: z.string().nullable(),
    }),
  },
  'target-ping': {
    request: z.object({ target: OrderTarget }),
    answer: z.object({
      alive: z.boolean(),
      /** Why not, for people. */
      reason: z.string().nullable(),
      freeBytes: z.number().nonnegative().nullable(),
    }),
  },
  'target-list': {
    request: z.object({ target: OrderTarget, path: TargetPath, ...page }),
    answer: z.object({ items: z.array(TargetEntry), next: z.string().nullable() }),
  },
  'target-host-key': {
    request: z.object({ config: SftpTargetConfig }),
    answer: z.object({ hostKey: z.string() }),
  },
  /** What the host's instances were when they were listed last. Pages of one list have one hash. */
  instances: {
    request: z.object({ ...page, cursor: z.string().max(100).optional() }),
    answer: z.object({
      hash: z.string().max(64),
      /** Since that listing began. */
      ageMs: z.number().nonnegative(),
      types: z.array(ListedType).max(8),
      items: z.array(ReportedInstance).max(1000),
      next: z.string().max(100).nullable(),
    }),
  },
  /** Where an instance lies this moment: its root (as one or more directories), then its mounts in the order of their destinations. */
  'instance-parts': {
    request: z.object({ place: InstancePlace }),
    answer: z.object({
      state: InstanceState,
      parts: z
        .array(
          z.object({
            /** `/` is its root. What of the host's own system it just borrows is left out. */
            destination: z.string().max(4096),
            /** Null: in none of the host's pools. */
            dataset: z.object({ pool: HostName, dataset: Id }).nullable(),
            /** A disk that is a volume, as ReportedInstance says; then `dataset` is null. */
            volume: z.string().max(1100).optional(),
          }),
        )
        .max(300),
    }),
  },
  /** What a pool holds this moment, in the order of paths. A cursor is the last path of the page before. */
  volumes: {
    request: z.object({ pool: HostName, ...page, cursor: z.string().max(1024).optional() }),
    answer: z.object({ items: z.array(StandingVolume).max(1000), next: z.string().max(1024).nullable() }),
  },
  /** What the host exports this moment, in the order of wwns. A cursor is the last wwn of the page before. */
  exports: {
    request: z.object({
      /** Only of these; those that the host does not keep are left out. */
      wwns: z.array(IscsiName).max(1000).optional(),
      ...page,
      cursor: z.string().max(223).optional(),
    }),
    answer: z.object({
      technology: z.enum(['tgt', 'lio', 'none']),
      /** `addr:port`, where initiators find all of them. */
      portals: z.array(z.string().max(300)).max(64),
      /** Which one of each target the volume is: 0, but 1 of tgt, whose LUN 0 is always its controller. */
      lun: z.number().int().nonnegative(),
      items: z.array(ListedExport).max(1000),
      next: z.string().max(223).nullable(),
    }),
  },
} as const
export type HostRead = keyof typeof READS
export type ReadRequestOf<Op extends HostRead> = z.input<(typeof READS)[Op]['request']>
export type ReadAnswerOf<Op extends HostRead> = z.infer<(typeof READS)[Op]['answer']>

/** `secret`: a TargetSecret as JSON, sealed for this agent (base64, context `read/<id>`). */
export const ReadQuestion = z.object({
  v: z.literal(WIRE_VERSION),
  id: Id,
  body: z.unknown(),
  secret: z.string().optional(),
})
export type ReadQuestion = z.infer<typeof ReadQuestion>

export const ReadAnswer = z.discriminatedUnion('ok', [
  z.object({ v: z.literal(WIRE_VERSION), ok: z.literal(true), body: z.unknown() }),
  z.object({ v: z.literal(WIRE_VERSION), ok: z.literal(false), error: JobFailure }),
])
export type ReadAnswer = z.infer<typeof ReadAnswer>
