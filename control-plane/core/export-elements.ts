import { type ErrorCode, FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import type { ExportElement, UnexportElement } from '../../shared/volume-spec.ts'
import type { Caller } from './caller.ts'
import { requireCondition } from './condition.ts'
import type { AskedExport, AskedUnexport } from './export-requests.ts'
import type { FleetView, LivePool } from './fleet-view.ts'
import type { Hold } from './orders.ts'
import type { ExportRow, NewExport, NewVolume, VolumeFindings, VolumeRow } from './volume-book.ts'
import { laneOf } from './volume-names.ts'
import { blockersOf, type Going, isHeldByOthers, isTheirs, requireSource, requireUnneeded } from './volume-rules.ts'

export interface OrderedElement<Element> {
  readonly host: { readonly id: string; readonly name: string }
  readonly element: Element
  readonly holds: readonly Hold[]
}

/** An element of a list, as the order of its host has it, and the rows that come with it. */
export interface MakingElement extends OrderedElement<ExportElement> {
  readonly volume: NewVolume | undefined
  readonly export: NewExport | undefined
}

export interface RemovingElement extends OrderedElement<UnexportElement> {
  readonly removes: { readonly volume: string | undefined; readonly export: string | undefined }
}

interface Question {
  readonly caller: Caller
  readonly fleet: FleetView
  readonly found: VolumeFindings
}

/** @throws not_found, unavailable, invalid, exists, conflict: this element alone is not ordered then. */
export function decideMaking(question: Question, asked: AskedExport, n: number): MakingElement {
  const { caller, fleet, found } = question
  const { source, volume: target, wwn, initiators, createParent = false, chap, isReadonly = false } = asked
  const pool = poolOf(fleet, target.pool, 'volume')
  if (source !== undefined) requireSameHost(poolOf(fleet, source.pool, 'source'), pool)
  if (!pool.accepts) throw new FleetError('unavailable', `host '${pool.host.name}' is offline or draining`)
  const known = source === undefined ? undefined : requireSource(found, source, caller)
  const volume = requireTarget(question, asked)
  const before = requireWwn(question, wwn, target.path)
  if (asked.isSole && before !== undefined) requireSole(before, asked)
  const place = { pool: pool.localName, volume: target.name }
  const lane = laneOf.volume(pool.host.name, place)
  const made: NewVolume | undefined =
    source === undefined || volume !== undefined
      ? undefined
      : {
          ...{ id: newId(), groupId: caller.groupId, poolId: pool.id, path: target.path, lane },
          ...{ sizeBytes: known?.sizeBytes ?? 0, origin: source.path },
        }
  const from = source && { pool: pool.localName, volume: source.name }
  const volumeId = made?.id ?? volume?.id
  const exportId = before?.id ?? newId()
  const chapUser = chap?.user ?? null
  const { groupId } = caller
  return {
    host: pool.host,
    element: {
      ...{ n, place, createParent, wwn, exportId },
      source: from && source ? { ...from, snapshot: source.snapshot } : null,
      access: { initiators, chapUser, ...(isReadonly ? { isReadonly } : {}) },
      ...(volumeId === undefined ? {} : { volumeId }),
    },
    holds: [
      { lane, exclusive: true },
      { lane: laneOf.wwn(wwn), exclusive: true },
      ...(from ? [{ lane: laneOf.volume(pool.host.name, from), exclusive: known?.isBeingMade === true }] : []),
    ],
    volume: made,
    export:
      before === undefined
        ? { id: exportId, groupId, poolId: pool.id, wwn, volume: target.path, initiators, chapUser, isReadonly }
        : undefined,
  }
}

function poolOf(fleet: FleetView, name: string, field: string): LivePool {
  const pool = fleet.pool(name)
  if (pool === undefined) throw new FleetError('not_found', `there is no pool '${name}'`, { field })
  return pool
}

function requireSameHost(source: LivePool, pool: LivePool): void {
  if (source.host.name !== pool.host.name) {
    const message = `a clone lies on the host of its snapshot: '${source.name}' is on '${source.host.name}', '${pool.name}' on '${pool.host.name}'`
    throw new FleetError('invalid', message, { field: 'volume' })
  }
  if (source.name === pool.name) return
  throw new FleetError('invalid', `a clone lies in the pool of its snapshot, '${source.name}'`, { field: 'volume' })
}

/** The volume that is there or being made, if one is: it is used again. @throws exists, conflict, not_found. */
function requireTarget({ caller, found }: Question, asked: AskedExport): VolumeRow | undefined {
  const { source, volume: target } = asked
  const volume = found.volume(target.path)
  if (source === undefined) {
    requireTheirs(volume, target.path, caller)
    if (volume?.state === 'deleting') throw new FleetError('conflict', `'${target.path}' is being deleted`)
    return volume
  }
  const isHeld = (volume === undefined || volume.state === 'deleting') && isHeldByOthers(found, target.path, caller)
  if (isHeld || (volume !== undefined && volume.groupId !== caller.groupId)) {
    throw new FleetError('exists', `in use: '${target.path}' is somebody else's`, { field: 'volume' })
  }
  if (volume === undefined || volume.state === 'deleting') return undefined
  if (volume.origin === source.path) return volume
  const what = volume.origin === null ? 'no clone' : `a clone of '${volume.origin}'`
  throw new FleetError('exists', `'${target.path}' is there already, and ${what}`, { field: 'volume' })
}

/** @throws not_found; conflict for one of their own that is still being made, where that matters. */
function requireTheirs(volume: VolumeRow | undefined, path: string, caller: Caller): void {
  if (isTheirs(volume, caller)) return
  if (volume?.groupId === caller.groupId) {
    throw new FleetError('conflict', `in use: '${path}' is still being made`, { field: 'volume' })
  }
  throw new FleetError('not_found', `there is no volume '${path}'`, { field: 'volume' })
}

/** @throws conflict where it is there for others */
function requireSole(before: ExportRow, { initiators: wanted, isReadonly = false }: AskedExport): void {
  const { wwn, initiators } = before
  const isTheirs = initiators.length === wanted.length && wanted.every((one) => initiators.includes(one))
  if (isTheirs && before.isReadonly === isReadonly) return
  throw new FleetError('conflict', `in use: '${wwn}' is there for ${initiators.join(', ')}`, { blockers: initiators })
}

/** The export that is there or being made, if one is. @throws conflict where it is another volume's, or somebody else's. */
function requireWwn({ caller, found }: Question, wwn: string, path: string): ExportRow | undefined {
  const before = found.export(wwn)
  if (before === undefined) return undefined
  if (before.groupId !== caller.groupId) throw new FleetError('conflict', `in use: '${wwn}'`, { field: 'wwn' })
  if (before.state === 'deleting') return undefined
  if (before.volume === path) return before
  const { volume } = before
  throw new FleetError('conflict', `in use: '${wwn}' serves '${volume}'`, { field: 'wwn', blockers: [volume] })
}

/**
 * @param going what else goes with the same list.
 * @returns undefined where all that it names is gone already. @throws as decideMaking.
 */
export function decideRemoving(
  question: Question & { readonly going: Going },
  asked: AskedUnexport,
  n: number,
): RemovingElement | undefined {
  const { caller, fleet, found, going } = question
  const { volume: target, wwn, deleteVolume = false, force = false, version, only } = asked
  const kept = found.export(wwn)
  if (kept !== undefined && kept.groupId !== caller.groupId) {
    throw new FleetError('not_found', `there is no export '${wwn}'`, { field: 'wwn' })
  }
  requireCondition(version === undefined ? undefined : (current) => current?.version === version, kept)
  if (kept !== undefined && kept.volume !== target.path) {
    const { volume } = kept
    throw new FleetError('conflict', `in use: '${wwn}' serves '${volume}'`, { field: 'wwn', blockers: [volume] })
  }
  const volume = found.volume(target.path)
  if (only !== undefined) {
    requireSame(kept, only.exportId, `the export '${wwn}'`)
    if (deleteVolume) requireSame(volume, only.volumeId, `the volume '${target.path}'`)
  }
  // What has no row may stand there all the same: nobody but the fleet's own asks a host of it, or has it deleted with an export.
  if (kept === undefined && (!deleteVolume || (volume === undefined && !isTheirs(volume, caller)))) return undefined
  if (deleteVolume) requireTheirs(volume, target.path, caller)
  if (deleteVolume) requireUnneeded(target.path, blockersOf(found, target.path, going))
  const pool = poolOf(fleet, target.pool, 'volume')
  if (!fleet.isOnline(pool.host.name)) {
    throw new FleetError('unavailable', `host '${pool.host.name}' is offline`)
  }
  const place = { pool: pool.localName, volume: target.name }
  return {
    host: pool.host,
    element: {
      ...{ n, wwn, place, deleteVolume, force },
      ...(kept === undefined ? {} : { exportId: kept.id }),
      ...(volume === undefined ? {} : { volumeId: volume.id }),
    },
    holds: [
      { lane: laneOf.volume(pool.host.name, place), exclusive: true },
      { lane: laneOf.wwn(wwn), exclusive: true },
    ],
    removes: { volume: deleteVolume ? volume?.id : undefined, export: kept?.id },
  }
}

function requireSame(row: { readonly id: string } | undefined, id: string | undefined, what: string): void {
  if (row !== undefined && row.id !== id) throw new FleetError('conflict', `${what} is another one by now`)
}

export interface DecidedElements<Ordered> {
  readonly ordered: readonly Ordered[]
  readonly done: readonly number[]
  readonly errors: readonly { readonly n: number; readonly code: ErrorCode; readonly message: string }[]
}

/** Each alone. `decide` gives undefined for what is so already. */
export function decideEach<Asked, Ordered>(
  asked: readonly Asked[],
  decide: (asked: Asked, n: number) => Ordered | undefined,
): DecidedElements<Ordered> {
  const ordered: Ordered[] = []
  const done: number[] = []
  const errors: { n: number; code: ErrorCode; message: string }[] = []
  for (const [n, one] of asked.entries()) {
    try {
      const decided = decide(one, n)
      if (decided === undefined) done.push(n)
      else ordered.push(decided)
    } catch (error) {
      if (!(error instanceof FleetError)) throw error
      errors.push({ n, code: error.code, message: error.message })
    }
  }
  return { ordered, done, errors }
}

/** @throws invalid for one that an earlier element of the list names too. */
export function createOnce(): (what: string, name: string) => void {
  const seen = new Set<string>()
  return (what, name) => {
    const key = `${what} ${name}`
    if (seen.has(key))
      throw new FleetError('invalid', `an earlier element names the ${what} '${name}' too`, { field: what })
    seen.add(key)
  }
}
