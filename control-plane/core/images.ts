import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import type { DatasetPlace } from '../../shared/job-spec.ts'
import type { Decision, LockedDataset } from './orders.ts'

/** What snapshots and clones share: both are images of a dataset at one instant, beside it in its pool. */

export function placeOf(dataset: LockedDataset): DatasetPlace {
  return { pool: dataset.localPool, dataset: dataset.id }
}

/** `field` is the request's member that named it, where there is more than one. */
export function notFound(name: string, field?: string): FleetError {
  return new FleetError('not_found', `there is no dataset or snapshot '${name}'`, field === undefined ? {} : { field })
}

/** @throws not_found; conflict while it is being made or deleted. */
export function usable(dataset: LockedDataset | undefined, name: string, field?: string): LockedDataset {
  if (dataset === undefined) throw notFound(name, field)
  if (dataset.state === 'creating') throw new FleetError('conflict', `'${name}' is still being created`)
  if (dataset.state === 'deleting') throw new FleetError('conflict', `'${name}' is being deleted`)
  return dataset
}

/** The order for an image of `source`: a snapshot when `snapshot` says so, else a clone. */
export function orderImage(image: {
  readonly request: { readonly name: string; readonly tags?: Readonly<Record<string, string>> | undefined }
  readonly source: LockedDataset
  readonly snapshot: { readonly readonly: boolean } | undefined
  readonly retryOf?: string | undefined
}): Decision {
  const { source, snapshot } = image
  const { name, tags = {} } = image.request
  const id = newId()
  const target = { pool: source.localPool, dataset: id }
  return {
    create: {
      id,
      name,
      pool: {
        id: source.poolId,
        host: source.host,
        pool: source.pool,
        driver: source.driver,
        capabilities: source.capabilities,
      },
      isSnapshot: snapshot !== undefined,
      readonly: snapshot?.readonly ?? false,
      origin: { id: source.id, ordinal: source.ordinal, name: source.name },
      tags,
    },
    request: image.request,
    spec: snapshot
      ? { kind: 'snapshot.create', source: placeOf(source), target, readonly: snapshot.readonly }
      : { kind: 'dataset.clone', source: placeOf(source), target },
    host: { id: source.hostId, name: source.host },
    subject: { id, name },
    holds: [{ lane: source.id, exclusive: false }],
    interactive: true,
    ...(image.retryOf === undefined ? {} : { retryOf: image.retryOf }),
  }
}
