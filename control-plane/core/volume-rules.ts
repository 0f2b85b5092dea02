import { FleetError } from '../../shared/errors.ts'
import { type Caller, DEFAULT_GROUP_ID } from './caller.ts'
import type { Hold } from './orders.ts'
import type { VolumeFindings, VolumeRow } from './volume-book.ts'
import type { VolumeSnapshotName } from './volume-names.ts'

/**
 * What stands in a pool and has no row is the fleet's: those with a role over it may name it, and those of the default group, who are
 * all that a fleet of one tenant has.
 */
export function mayUseUnknown(caller: Caller): boolean {
  return caller.fleetRole !== null || caller.groupId === DEFAULT_GROUP_ID
}

/**
 * Whether what stands at a volume's place is the caller's to name. A row that is still being made says nothing of that: its order fails
 * where something stands there already, and what comes behind it would find that.
 */
export function isTheirs(volume: Pick<VolumeRow, 'groupId' | 'state'> | undefined, caller: Caller): boolean {
  if (volume === undefined) return mayUseUnknown(caller)
  return volume.groupId === caller.groupId && (volume.state !== 'creating' || mayUseUnknown(caller))
}

/**
 * A snapshot that is to be cloned: the group's own, or one that the control plane does not know, of a volume of the group or of the fleet.
 * @returns its size, 0 where nobody knows that yet, and whether it is yet to be made: who clones it waits for that. @throws not_found, conflict (it goes).
 */
export function requireSource(
  found: VolumeFindings,
  source: VolumeSnapshotName,
  caller: Caller,
): { readonly sizeBytes: number; readonly isBeingMade: boolean } {
  const { path, pool, name } = source
  const [snapshot, volume] = [found.snapshot(path), found.volume(`${pool}/${name}`)]
  if (!isTheirs(volume, caller) || (snapshot !== undefined && snapshot.groupId !== caller.groupId)) {
    throw new FleetError('not_found', `there is no snapshot '${path}'`, { field: 'source' })
  }
  if (snapshot?.state === 'deleting' || volume?.state === 'deleting') {
    throw new FleetError('conflict', `'${path}' is being deleted`, { field: 'source' })
  }
  return { sizeBytes: snapshot?.sizeBytes ?? volume?.sizeBytes ?? 0, isBeingMade: snapshot?.state === 'creating' }
}

/**
 * Whether exports of another group name a path: such a one has lost its volume, and would be given whatever is made there next. Asks
 * `free`.
 */
export function isHeldByOthers(found: Pick<VolumeFindings, 'exportsOf'>, path: string, caller: Caller): boolean {
  return found.exportsOf(path).some(({ groupId }) => groupId !== caller.groupId)
}

/** What goes with the same list: volumes, and exports by wwn, each of which is said to be of a volume. */
export interface Going {
  readonly wwns: ReadonlyMap<string, string>
  readonly volumes: ReadonlySet<string>
}

/** What rests on a volume, but for exports and clones that go with it. */
export function blockersOf(
  found: Pick<VolumeFindings, 'exportsOf' | 'snapshotsOf' | 'clonesOf' | 'serversOf'>,
  path: string,
  going: Going = NOTHING,
): readonly string[] {
  const exports = found.exportsOf(path).filter(({ state, wwn }) => state !== 'deleting' && going.wwns.get(wwn) !== path)
  const clones = found.clonesOf(path).filter((clone) => !going.volumes.has(clone.path))
  return [
    ...exports.map(({ wwn }) => `export ${wwn}`),
    ...found.snapshotsOf(path).map((snapshot) => `snapshot ${snapshot}`),
    ...clones.map((clone) => `volume ${clone.path}`),
    ...found.serversOf(path).map((server) => `server ${server}`),
  ]
}
const NOTHING: Going = { wwns: new Map(), volumes: new Set() }

/** Named in an answer; of more only the first are. */
const MAX_BLOCKERS = 100

/** @throws conflict, naming what rests on it. */
export function requireUnneeded(path: string, blockers: readonly string[]): void {
  if (blockers.length === 0) return
  const named = blockers.slice(0, MAX_BLOCKERS)
  throw new FleetError('conflict', `'${path}' is needed by ${describe(named)}`, { blockers: named })
}

function describe(blockers: readonly string[]): string {
  const first = blockers.slice(0, 3).join(', ')
  return blockers.length > 3 ? `${first} and ${blockers.length - 3} more` : first
}

/** Each lane once, in one order. */
export function sorted(holds: readonly Hold[]): readonly Hold[] {
  const byLane = new Map<string, boolean>()
  for (const { lane, exclusive } of holds) byLane.set(lane, exclusive || (byLane.get(lane) ?? false))
  return [...byLane].map(([lane, exclusive]) => ({ lane, exclusive })).toSorted((a, b) => (a.lane < b.lane ? -1 : 1))
}
