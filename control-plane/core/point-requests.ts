import { z } from 'zod'
import { HostName, Id, ResourceName } from '../../shared/ids.ts'
import { Hold, InstanceName, InstanceRef, InstanceType } from '../../shared/instance-spec.ts'
import { MemberBytes, MemberPath, TargetPath } from '../../shared/point-spec.ts'
import { LunConnection, SnapshotName, VolumeSize } from '../../shared/volume-spec.ts'
import { InnerPath } from './requests.ts'

/** Orders and questions travel in one message of at most 1 MiB, with much else. */
const MAX_PATH_BYTES = 256 * 1024

/** What the directories of points are called, finished or not. */
const OF_A_POINT = /^\d{8}T\d{6}Z/
/** What the files are called that lie beside points: a directory in their place would keep every point of that series from being made. */
const OF_A_SERIES: ReadonlySet<string> = new Set(['backup-metadata', 'image.tar', 'image.tar.age'])

/** Segments of a target's path, without slashes at its ends or doubled ones. What lies in a point's directory would go with that point. */
export const SeriesPath = TargetPath.transform((path) => path.split('/').filter(Boolean).join('/')).refine(
  (path) => !path.split('/').some((segment) => OF_A_POINT.test(segment) || OF_A_SERIES.has(segment)),
  'must not lead into the directory of a point, nor be called as what lies beside points',
)

/** As indexes spell it: without a leading slash or `./`. What could name nothing in any point is refused. */
const AskedPath = MemberPath.transform((path) => path.replace(/^(\.?\/)+/, '').replace(/\/+$/, '')).refine(
  (path) => path === '' || path.split('/').every((segment) => !['', '.', '..'].includes(segment)),
  "must not hold '.', '..' or doubled slashes",
)
export const AskedMember = z.union([AskedPath, z.object({ base64: MemberBytes })])

/** What each kind of job about a point was asked, as it is kept with the job so that a retry can ask it again. */
export const CreatePointRequest = z.object({
  source: z.union([
    z.object({ dataset: z.string() }),
    z.object({ host: HostName, path: InnerPath }),
    z.object({
      instance: InstanceRef,
      type: InstanceType.optional(),
      host: HostName.optional(),
      hold: Hold.optional(),
      snapshots: z
        .array(z.object({ dataset: Id, snapshot: Id }))
        .max(100)
        .optional(),
    }),
    z.object({ volume: z.string(), snapshot: SnapshotName.optional() }),
    z.object({
      lent: z.object({
        ...{ id: Id, name: z.string(), snapshot: z.string().nullable(), host: HostName },
        ...{ connection: LunConnection, sizeBytes: VolumeSize },
      }),
    }),
  ]),
  target: z.string().optional(),
  path: SeriesPath.optional(),
  incremental: z.boolean().optional(),
  compress: z.boolean().optional(),
  backup: z.object({ scheduleId: z.string(), name: z.string() }).optional(),
  directory: SeriesPath.refine((name) => name !== '' && !name.includes('/'), 'must be one segment').optional(),
})
export type CreatePointRequest = z.infer<typeof CreatePointRequest>

export const PointRequest = z.object({ id: z.string() })

function textOf(asked: z.infer<typeof AskedMember>): string {
  return typeof asked === 'string' ? asked : asked.base64
}

export const RestorePointRequest = z.object({
  id: z.string(),
  paths: z
    .array(AskedMember)
    .max(1000)
    .refine(
      (paths) => Buffer.byteLength(paths.map(textOf).join('')) <= MAX_PATH_BYTES,
      `at most ${MAX_PATH_BYTES} bytes in all`,
    )
    .optional(),
  destination: z.union([
    z.object({ dataset: z.string(), path: InnerPath }),
    z.object({
      newDataset: ResourceName,
      host: z.string().optional(),
      pool: z.string().optional(),
      madeFor: z.object({ type: InstanceType, name: InstanceName }).optional(),
    }),
    z.object({ host: HostName, path: InnerPath }),
    z.object({
      instance: InstanceName,
      type: InstanceType.optional(),
      host: HostName.optional(),
      pool: HostName.optional(),
      start: z.boolean().optional(),
      replace: z.boolean().optional(),
      onto: z.object({ dataset: ResourceName, from: z.string() }).optional(),
    }),
  ]),
  overwrite: z.boolean().optional(),
})
export type RestorePointRequest = z.infer<typeof RestorePointRequest>
