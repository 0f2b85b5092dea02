import type { JobSpec } from '../../shared/job-spec.ts'

/**
 * One mutating job a dataset at a time, also while two attempts of neighbouring jobs overlap on this host. The database
 * gives out lanes; this is the belt to its braces, and it never refuses: it waits.
 */
export interface Lanes {
  run<Result>(lane: string, work: () => Promise<Result>): Promise<Result>
}

export function createLanes(): Lanes {
  const tails = new Map<string, Promise<unknown>>()
  return {
    async run(lane, work) {
      const before = tails.get(lane) ?? Promise.resolve()
      const mine = before.then(work, work)
      const tail = mine.catch(() => undefined)
      tails.set(lane, tail)
      try {
        return await mine
      } finally {
        if (tails.get(lane) === tail) tails.delete(lane)
      }
    },
  }
}

/** What an order changes: a dataset, a path of the host, the directory of a series of points. */
export function laneOf(spec: JobSpec): string {
  switch (spec.kind) {
    case 'snapshot.restore':
      return spec.destination.kind === 'dataset' ? spec.destination.place.dataset : `host:${spec.destination.path}`
    case 'dataset.create':
    case 'dataset.clone':
    case 'dataset.delete':
    case 'snapshot.create':
    case 'instance.clone':
      return spec.target.dataset
    case 'instance.start':
    case 'instance.stop':
    case 'instance.snapshot':
      return `instance:${spec.place.type}/${spec.place.instance}`
    case 'instance.discard': {
      const [{ place } = { place: undefined }] = spec.parts
      return place === undefined ? 'discard' : `discard:${'dataset' in place ? place.dataset : place.volume}`
    }
    case 'point.create':
    case 'point.delete':
    case 'point.trash':
    case 'point.untrash':
      return `series:${spec.target.id ?? 'own'}/${spec.series}`
    case 'point.verify':
    case 'point.rehearse':
      return `point:${spec.pointId}`
    case 'volume.create':
    case 'volume.clone':
    case 'volume.snapshot':
    case 'volume.resize':
    case 'volume.delete':
    case 'volume.rollback':
    case 'volume.restore':
      return `volume:${spec.place.pool}/${spec.place.volume}`
    case 'lun.restore':
      return `lun:${spec.connection.targetName}`
    case 'export.create':
    case 'export.delete':
    case 'export.reconcile':
      return 'exports'
    case 'point.restore':
      return spec.destination.kind === 'host' ? `host:${spec.destination.path}` : spec.destination.place.dataset
  }
}
