import { z } from 'zod'
import { COMMON_STATUSES, type Dialect, type Failure, route } from '../../http/route.ts'
import { becauseOf } from './dialect.ts'
import { restoredThere, rolledBack } from './lent.ts'
import { linksOf } from './links.ts'
import { atGateway } from './place.ts'
import { etagOf, presentVolume } from './present.ts'
import { CreateVolumeBody, ItemParams, OneVolume, SnapshotView, VolumeView } from './schemas.ts'
import { SNAPSHOT_ROUTES } from './snapshots.ts'
import { Acted, ActionBody, act, ConnectionView, withoutSecret } from './volume-actions.ts'
import { createdVolume, VOLUME_ROUTES } from './volumes.ts'

const volumes = atGateway('volume')
const snapshots = atGateway('snapshot')

const RollbackBody = z.object({
  rollback: z.object({ snapshot_id: z.string().max(255).meta({ description: 'One of its snapshots' }) }),
})
const GatewayAction = z.union([RollbackBody, ActionBody])

/** Of the block service behind us: what that says of it. */
const ForeignVolume = z.object({ volume: z.looseObject({ id: z.uuid() }) })
const MadeVolume = z.union([OneVolume, ForeignVolume])

const CREATE = {
  method: 'POST',
  summary: 'Make a volume: of a backup, or as the block API does',
  description:
    'Of a backup: 201. As the block API: 202. Both before it is there: it is `creating`, then `available` or `error`. For whoever shows a token of ' +
    'a Cinder behind this service in `X-Auth-Token`, a backup becomes a volume there: `creating`, `attaching` while it is written, `available`.',
  access: 'operator',
  status: 201 as 201 | 202,
  body: CreateVolumeBody,
  result: MadeVolume,
  answers: { 201: MadeVolume, 202: OneVolume },
  errors: [404, 409, 503, 504],
} as const

const ACTION = {
  method: 'POST',
  summary: 'Roll a volume back, or what the block API does',
  description:
    'A rollback is answered with 201: the volume becomes what it was at the snapshot, in one step, while it is available, or attached only to ' +
    'instances that are stopped. Newer snapshots stay, and what it was before is one more. Others as the block API: 202, or 200 with a connection.',
  access: 'operator',
  status: 201 as 200 | 201 | 202,
  params: ItemParams,
  body: GatewayAction,
  result: Acted,
  answers: { 200: ConnectionView, 201: null, 202: null },
  errors: [404, 409, 503, 504],
  withoutSecrets: withoutSecret,
} as const

/** The backup service's own path, and the gateway's that leads there. */
const MADE = [
  { path: '/v1/volume', named: '' },
  { path: volumes.base, named: 'Gateway' },
] as const

const createVolumes = MADE.map(({ path, named }) =>
  route({
    ...{ operation: `create${named}Volume`, path, ...CREATE },
    async handle(request, core) {
      const { body, caller } = request
      const there = await restoredThere(core, request, body)
      if (there !== undefined) return { status: 201, body: { volume: there } }
      const { jobId, volume } = await createdVolume(core, caller, body)
      const view = presentVolume(volume, caller, linksOf(request, volumes.base, volume.id))
      const status = body.volume.backup_id ? 201 : 202
      return { status, body: { volume: view }, etag: etagOf(volume), headers: { 'X-Job-Id': jobId } }
    },
  }),
)

const actOnVolumes = MADE.map(({ path, named }) =>
  route({
    ...{ operation: `actOn${named}Volume`, path: `${path}/:id/action`, ...ACTION },
    async handle(request, core) {
      const { body, caller, signal } = request
      const { id } = request.params
      if ('rollback' in body) {
        const jobId = await rolledBack(core, request, id, body.rollback.snapshot_id)
        return { status: 201, body: undefined, headers: jobId === undefined ? {} : { 'X-Job-Id': jobId } }
      }
      const { jobId, connection } = await act(core, { caller, id, signal }, body)
      const headers = jobId === undefined ? {} : { 'X-Job-Id': jobId }
      return { status: connection === undefined ? 202 : 200, body: connection, headers }
    },
  }),
)

const ErrorBody = z.object({
  error: z.object({
    code: z.number().int().meta({ description: 'The HTTP status', example: 404 }),
    message: z.string(),
    blockers: z.array(z.string()).optional().meta({ description: 'What stands in the way' }),
  }),
})

const { listVolumes, getVolume, deleteVolume } = VOLUME_ROUTES
const { listSnapshots, getSnapshot, createSnapshot, deleteSnapshot } = SNAPSHOT_ROUTES

/** Requests that the backup service's document leads to block storage, in that service's envelope. */
export const blockGateway: Dialect = {
  name: 'gateway',
  title: 'Block storage at the gateway',
  version: '1',
  description: 'The block paths of the backup service and of its API gateway: what they lead to is the block API.',
  owns: ['/v1/volume', '/v1/block/volume', '/v1/block/snapshot'],
  statuses: COMMON_STATUSES,
  errorBody({ code, message, blockers }: Failure) {
    const told = { code: COMMON_STATUSES[code], message: becauseOf({ message, blockers }) }
    return { error: blockers === undefined ? told : { ...told, blockers: [...blockers] } }
  },
  errorSchema: ErrorBody,
  schemas: { Volume: VolumeView, Snapshot: SnapshotView, Error: ErrorBody },
  routes: [
    ...createVolumes,
    ...actOnVolumes,
    ...[listVolumes, getVolume, deleteVolume].map((routeAt) => routeAt(volumes)),
    ...[listSnapshots, getSnapshot, createSnapshot, deleteSnapshot].map((routeAt) => routeAt(snapshots)),
  ],
}
