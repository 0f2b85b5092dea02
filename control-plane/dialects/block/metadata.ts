import { FleetError } from '../../../shared/errors.ts'
import type { BlockSnapshot, BlockSnapshots, BlockVolume, BlockVolumes } from '../../core/block-volumes.ts'
import type { Core } from '../../core/core.ts'
import { route } from '../../http/route.ts'
import { etagOf, expecting } from './present.ts'
import {
  MetadataBody,
  MetadataItemBody,
  MetadataItemView,
  MetadataView,
  ProjectItem,
  ProjectItemKey,
} from './schemas.ts'

type Kind = 'Volume' | 'Snapshot'
type Things = Pick<BlockVolumes, 'get' | 'setMetadata' | 'deleteMetadata'> &
  Pick<BlockSnapshots, 'get' | 'setMetadata' | 'deleteMetadata'>

function thingsOf(kind: Kind, core: Core): Things {
  const things = { Volume: core.blockVolumes, Snapshot: core.blockSnapshots }[kind]
  // as: these three take and give the same of both, as far as it is looked at here
  return things as unknown as Things
}

function whole(thing: BlockVolume | BlockSnapshot) {
  return { status: 200, body: { metadata: { ...thing.metadata } }, etag: etagOf(thing) } as const
}

function only(thing: BlockVolume | BlockSnapshot, key: string) {
  const { metadata } = thing
  const value = Object.hasOwn(metadata, key) ? metadata[key] : undefined
  if (value === undefined) throw new FleetError('not_found', `there is no metadata '${key}'`)
  return { status: 200, body: { meta: { [key]: value } }, etag: etagOf(thing) } as const
}

/** What clients wrote beside a volume or a snapshot, all of it and member by member. */
export function metadataRoutes(kind: Kind) {
  const path = `/v3/:project/${kind.toLowerCase()}s/:id/metadata`
  const read = { access: 'viewer', status: 200, errors: [404] } as const
  const change = { access: 'operator', status: 200 } as const
  return [
    route({
      ...{ operation: `get${kind}Metadata`, method: 'GET', path, summary: 'All metadata', ...read },
      params: ProjectItem,
      result: MetadataView,
      handle: async ({ params, caller }, core) => whole(await thingsOf(kind, core).get(caller, params.id)),
    }),
    route({
      ...{ operation: `add${kind}Metadata`, method: 'POST', path, summary: 'Add or change members', ...change },
      errors: [404, 412],
      params: ProjectItem,
      body: MetadataBody,
      result: MetadataView,
      precondition: 'own',
      async handle({ params, body, caller, ifMatch }, core) {
        const things = thingsOf(kind, core)
        return whole(await things.setMetadata(caller, params.id, body.metadata, false, expecting(ifMatch)))
      },
    }),
    route({
      ...{ operation: `replace${kind}Metadata`, method: 'PUT', path, summary: 'Replace all of it', ...change },
      errors: [404, 412],
      params: ProjectItem,
      body: MetadataBody,
      result: MetadataView,
      precondition: 'own',
      async handle({ params, body, caller, ifMatch }, core) {
        const things = thingsOf(kind, core)
        return whole(await things.setMetadata(caller, params.id, body.metadata, true, expecting(ifMatch)))
      },
    }),
    route({
      ...{ operation: `get${kind}MetadataItem`, method: 'GET', path: `${path}/:key`, summary: 'One member', ...read },
      params: ProjectItemKey,
      result: MetadataItemView,
      handle: async ({ params, caller }, core) => only(await thingsOf(kind, core).get(caller, params.id), params.key),
    }),
    route({
      ...{ operation: `set${kind}MetadataItem`, method: 'PUT', path: `${path}/:key`, summary: 'One member', ...change },
      errors: [404, 412],
      params: ProjectItemKey,
      body: MetadataItemBody,
      result: MetadataItemView,
      precondition: 'own',
      async handle({ params: { id, key }, body, caller, ifMatch }, core) {
        const [name, ...more] = Object.keys(body.meta)
        if (name !== key || more.length > 0) {
          throw new FleetError('invalid', `meta: must hold '${key}' and nothing else`, { field: 'meta' })
        }
        return only(await thingsOf(kind, core).setMetadata(caller, id, body.meta, false, expecting(ifMatch)), key)
      },
    }),
    route({
      ...{ operation: `delete${kind}MetadataItem`, method: 'DELETE', path: `${path}/:key`, ...change },
      summary: 'Take one member away',
      errors: [404, 412],
      params: ProjectItemKey,
      precondition: 'own',
      async handle({ params: { id, key }, caller, ifMatch }, core) {
        await thingsOf(kind, core).deleteMetadata(caller, id, key, expecting(ifMatch))
        return { status: 200 }
      },
    }),
  ]
}
