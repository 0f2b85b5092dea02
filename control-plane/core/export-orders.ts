import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import { type Caller, requireFleetRole, requireRole, visibleGroup } from './caller.ts'
import type { Accepted } from './datasets.ts'
import { foldBatch } from './export-batch.ts'
import {
  createOnce,
  type DecidedElements,
  decideEach,
  decideMaking,
  decideRemoving,
  type OrderedElement,
} from './export-elements.ts'
import { type AnyElement, jobsOf, withinBounds } from './export-jobs.ts'
import { createLiveExports } from './export-live.ts'
import { planReconcile } from './export-reconcile.ts'
import { type AskedExport, type AskedUnexport, checkAsked, checkWanted } from './export-requests.ts'
import type { AcceptedExports, ExportInfo, ExportOrders, ExportReader, Unexport, WantExport } from './exports.ts'
import type { FleetView } from './fleet-view.ts'
import type { HostReads } from './host-reads.ts'
import type { VolumeBook, VolumeFindings, VolumePlan, VolumeReads } from './volume-book.ts'

interface How {
  readonly retryOf: string | undefined
  readonly isWaited: boolean
}

export function createExports(deps: {
  readonly book: VolumeBook
  readonly reader: ExportReader
  readonly fleet: FleetView
  readonly reads: HostReads
}): ExportOrders {
  const { book, reader, fleet, reads } = deps
  const live = createLiveExports({ reads, fleet })

  async function place(
    caller: Caller,
    given: {
      readonly type: 'create' | 'delete'
      readonly requested: number
      readonly reads: VolumeReads
      readonly how: How
      readonly decide: (found: VolumeFindings) => Decided
    },
  ): Promise<AcceptedExports> {
    const { type, requested, how } = given
    const { groupId, key } = caller
    const { jobIds, batchId } = await book.place({
      ...{ groupId, by: caller, reads: given.reads },
      ...(key === undefined ? {} : { key: { hash: key.hash, holder: key.holder, n: key.next() } }),
      decide(found) {
        const { rows, elements, gone, secrets } = given.decide(found)
        const { ordered, errors } = withinBounds(elements, secrets)
        if (errors.length === requested && errors.every(({ code }) => code === 'unavailable')) {
          throw new FleetError('unavailable', errors[0]?.message ?? 'no host is there')
        }
        const batch = { id: newId(), type, requested, errors, done: elements.done.map((n) => ({ n, volume: gone(n) })) }
        const taken = new Set(ordered.map(({ element }) => element.n))
        const jobs = jobsOf(ordered, { kind: `export.${type}`, batchId: batch.id, secrets, ...how })
        return { ...rows((n) => taken.has(n)), jobs, batch }
      },
    })
    if (batchId === undefined) throw new FleetError('not_found', 'the list that was ordered is gone already')
    return { batchId, jobIds }
  }

  function make(caller: Caller, asked: readonly AskedExport[], how: How): Promise<AcceptedExports> {
    return place(caller, {
      ...{ type: 'create', requested: asked.length, how },
      reads: {
        volumes: asked.flatMap(({ volume, source }) =>
          source ? [volume.path, `${source.pool}/${source.name}`] : [volume.path],
        ),
        snapshots: [...new Set(asked.flatMap(({ source }) => source?.path ?? []))],
        wwns: asked.map(({ wwn }) => wwn),
        free: asked.flatMap(({ volume, source }) => (source ? [volume.path] : [])),
      },
      decide(found) {
        const once = createOnce()
        const elements = decideEach(asked, (one, n) => {
          requireOnce(once, one)
          return decideMaking({ caller, fleet, found }, one, n)
        })
        // Of those alone that are ordered: a list may name a wwn twice.
        const given = elements.ordered.flatMap(({ element: { n, wwn } }) => {
          const chap = asked[n]?.chap
          return chap ? [[wwn, chap.secret] as const] : []
        })
        return {
          elements,
          gone: () => false,
          secrets: Object.fromEntries(given),
          rows: (isTaken) => {
            const taken = elements.ordered.filter(({ element }) => isTaken(element.n))
            return {
              volumes: taken.flatMap(({ volume }) => volume ?? []),
              exports: taken.flatMap((one) => one.export ?? []),
            }
          },
        }
      },
    })
  }

  function removeAll(caller: Caller, asked: readonly AskedUnexport[], how: How): Promise<AcceptedExports> {
    const paths = [...new Set(asked.map(({ volume }) => volume.path))]
    const goingVolumes = asked.flatMap(({ volume, deleteVolume }) => (deleteVolume ? [volume.path] : []))
    const going = {
      // Of two that name one, the first counts.
      wwns: new Map(asked.toReversed().map(({ wwn, volume }) => [wwn, volume.path])),
      volumes: new Set(goingVolumes),
    }
    return place(caller, {
      ...{ type: 'delete', requested: asked.length, how },
      reads: { volumes: paths, wwns: [...going.wwns.keys()], needed: goingVolumes },
      decide(found) {
        const once = createOnce()
        const elements = decideEach(asked, (one, n) => {
          once('wwn', one.wwn)
          return decideRemoving({ caller, fleet, found, going }, one, n)
        })
        return {
          elements,
          gone: (n) => asked[n]?.deleteVolume === true,
          secrets: {},
          rows: (isTaken) => {
            const taken = elements.ordered.filter(({ element }) => isTaken(element.n))
            return {
              removes: {
                volumes: taken.flatMap(({ removes }) => removes.volume ?? []),
                exports: taken.flatMap(({ removes }) => removes.export ?? []),
              },
            }
          },
        }
      },
    })
  }

  async function find(caller: Caller, idOrWwn: string): Promise<ExportInfo> {
    const found = await reader.find(visibleGroup(caller), idOrWwn)
    if (found === undefined) throw new FleetError('not_found', `there is no export '${idOrWwn}'`)
    return found
  }

  /** What a host's own name of a pool is in the fleet. @throws not_found */
  function pathOf(host: string, place: { readonly pool: string; readonly volume: string }): string {
    for (const pool of fleet.pools()) {
      if (pool.host.name === host && pool.localName === place.pool) return `${pool.name}/${place.volume}`
    }
    throw new FleetError('not_found', `host '${host}' has no pool '${place.pool}' any more`)
  }

  async function reconcile(
    caller: Caller,
    name: string,
    given: { readonly retryOf?: string; readonly now?: boolean } = {},
  ): Promise<Accepted> {
    requireFleetRole(caller, 'operator')
    const host = fleet.host(name)
    if (host === undefined) throw new FleetError('not_found', `there is no host '${name}'`)
    if (!host.isOnline) throw new FleetError('unavailable', `host '${name}' is offline`)
    const { jobIds } = await book.place({
      ...{ groupId: caller.groupId, by: caller, reads: { exportsOf: name } },
      decide: (found) => planReconcile(found, host, given),
    })
    return { jobId: jobIds[0] ?? '' }
  }

  return {
    async create(caller, wanted, { isWaited = false } = {}) {
      requireRole(caller, 'operator')
      return make(caller, checkWanted(wanted), { retryOf: undefined, isWaited })
    },

    async remove(caller, asked, { isWaited = false } = {}) {
      requireRole(caller, 'operator')
      return removeAll(caller, checkAsked(asked), { retryOf: undefined, isWaited })
    },

    async batch(caller, id) {
      const facts = await reader.batch(visibleGroup(caller), id)
      if (facts === undefined) throw new FleetError('not_found', `there is no batch '${id}'`)
      return foldBatch(facts)
    },

    async get(caller, idOrWwn) {
      const found = await find(caller, idOrWwn)
      return { ...found, live: (await live([found])).get(found.id) }
    },

    async list(caller, filter, page) {
      const { items, nextCursor } = await reader.list(visibleGroup(caller), filter, page)
      const told = await live(items)
      return { items: items.map((one) => ({ ...one, live: told.get(one.id) })), nextCursor }
    },

    async again(caller, { id: retryOf, host, spec }) {
      requireRole(caller, 'operator')
      if (spec.kind === 'export.reconcile') return reconcile(caller, host, { retryOf, now: true })
      if (spec.kind === 'export.delete') {
        const asked = spec.elements.map(({ place: at, wwn, deleteVolume, force, exportId, volumeId }): Unexport => {
          return { volume: pathOf(host, at), wwn, deleteVolume, force, only: { exportId, volumeId } }
        })
        return onlyJob(await removeAll(caller, checkAsked(asked), { retryOf, isWaited: false }))
      }
      if (spec.kind !== 'export.create') throw new FleetError('internal', 'internal error', { detail: spec.kind })
      const wanted = spec.elements.map(({ source, place: at, createParent, wwn, access }): WantExport => {
        if (access.chapUser !== null) {
          // What its export has now, if it is there, is another order's: this one changed nothing.
          throw new FleetError('conflict', `the CHAP secret of '${wwn}' is kept no longer; ask for the export anew`)
        }
        const { initiators, isReadonly } = access
        const given = { volume: pathOf(host, at), wwn, initiators, isReadonly, createParent }
        return source === null ? given : { ...given, source: `${pathOf(host, source)}@${source.snapshot}` }
      })
      return onlyJob(await make(caller, checkWanted(wanted), { retryOf, isWaited: false }))
    },

    reconcile,
  }
}

interface Decided {
  readonly elements: DecidedElements<OrderedElement<AnyElement>>
  /** Whether the volume of an element that needs no host is gone, as was asked. */
  readonly gone: (n: number) => boolean
  readonly secrets: Readonly<Record<string, string>>
  /** Of the elements that are ordered. */
  readonly rows: (isTaken: (n: number) => boolean) => Omit<VolumePlan, 'jobs'>
}

function requireOnce(once: (what: string, name: string) => void, { wwn, volume }: AskedExport): void {
  // Both are noted, whichever is named again.
  let again: unknown
  for (const [what, name] of [
    ['wwn', wwn],
    ['volume', volume.path],
  ] as const) {
    try {
      once(what, name)
    } catch (error) {
      again ??= error
    }
  }
  if (again !== undefined) throw again
}

/** @throws conflict where nothing is left to be done, or can be. */
function onlyJob({ jobIds }: AcceptedExports): Accepted {
  const [jobId] = jobIds
  if (jobId === undefined) throw new FleetError('conflict', 'nothing of it is to be done any more, or can be just now')
  return { jobId }
}
