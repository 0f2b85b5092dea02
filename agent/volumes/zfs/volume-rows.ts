import { deviceOf } from '../../zfs/devices.ts'
import { pathBelow } from '../../zfs/names.ts'
import type { Zfs, ZfsRow } from '../../zfs/zfs.ts'
import type { Volume, VolumeSnapshot } from '../volumes.ts'
import { datasetOf, isHidden, isHiddenSnapshot, PAST_OF, PASTS, pastNames } from './hidden-names.ts'

/** What ZFS counted as written of a clone when it was just made: its own header, a few KiB by the pool's geometry. */
export const FRESH = 'holdfast:fresh'
const COLUMNS = [
  'name',
  'type',
  'guid',
  'volsize',
  'origin',
  'written',
  'logicalreferenced',
  'creation',
  FRESH,
  PASTS,
  PAST_OF,
] as const
export type VolumeRow = ZfsRow<(typeof COLUMNS)[number]>

/** Of clones that others made: two copies of a header of 8 KiB. A first write counts several times of that. */
const FRESH_BYTES = 16_384
/** ZFS counts a volume that was never written to as this much: its objects alone, before compression. Seen with 2.1. */
const EMPTY_LOGICAL_BYTES = 32_768

/** A volume with all that belongs to it. */
export interface StandingVolume {
  readonly row: VolumeRow
  /** Its own, hidden ones too. */
  readonly snapshots: readonly VolumeRow[]
  /** What had its name before, with their snapshots. */
  readonly pasts: readonly { readonly row: VolumeRow; readonly snapshots: readonly VolumeRow[] }[]
}

export interface VolumeLooks {
  /** File systems, volumes and snapshots by their full names; one level deeper too, where `depth` is 1. */
  look(names: readonly string[], depth: 0 | 1, signal: AbortSignal): Promise<ReadonlyMap<string, VolumeRow>>
  /** Those of these that are volumes, in this sequence, with one more question where some have pasts. */
  standing(names: readonly string[], signal: AbortSignal): Promise<readonly StandingVolume[]>
  /** What these are, with one more question for where clones come from, unless all of that is known. */
  volumes(
    standing: readonly StandingVolume[],
    signal: AbortSignal,
    known?: ReadonlyMap<string, VolumeRow>,
  ): Promise<readonly Volume[]>
}

export function createVolumeLooks(zfs: Zfs, root: string): VolumeLooks {
  async function look(names: readonly string[], depth: 0 | 1, signal: AbortSignal) {
    const types = ['filesystem', 'volume', 'snapshot'] as const
    const rows = await zfs.list({ columns: COLUMNS, types, names: [...new Set(names)], depth }, signal)
    return new Map(rows.map((row) => [row.name, row]))
  }

  return {
    look,

    async standing(names, signal) {
      const rows = await look(names, 1, signal)
      const found = names.flatMap((name) => rows.get(name) ?? []).filter(({ type }) => type === 'volume')
      const pasts = found.flatMap((row) => pastNames(root, row[PASTS]))
      const pastRows = pasts.length === 0 ? new Map<string, VolumeRow>() : await look(pasts, 1, signal)
      const snapshots = snapshotsByDataset([...rows.values(), ...pastRows.values()])
      return found.map((row) => ({
        row,
        snapshots: snapshots.get(row.name) ?? [],
        pasts: pastNames(root, row[PASTS])
          .flatMap((name) => pastRows.get(name) ?? [])
          .map((past) => ({ row: past, snapshots: snapshots.get(past.name) ?? [] })),
      }))
    },

    async volumes(standing, signal, known = new Map()) {
      const origins = standing.map(originOf)
      const unknown = origins.filter((origin) => origin !== '-' && !known.has(origin))
      const asked = unknown.length === 0 ? new Map<string, VolumeRow>() : await look(unknown, 0, signal)
      return standing.map(({ row, snapshots }, index): Volume => {
        const name = origins[index] ?? '-'
        const origin = known.get(name) ?? asked.get(name)
        return {
          path: pathBelow(root, row.name),
          sizeBytes: Number(row.volsize),
          device: deviceOf(row.name),
          guid: row.guid,
          // Its snapshot cannot go while the clone is there; what is missing here went with the clone meanwhile.
          origin: origin && {
            guid: origin.guid,
            path: pathOf(root, origin),
            snapshot: name.slice(name.indexOf('@') + 1),
          },
          isWritten: row[PASTS] !== '-' || isWritten(row, snapshots),
        }
      })
    },
  }
}

function snapshotsByDataset(rows: readonly VolumeRow[]): ReadonlyMap<string, readonly VolumeRow[]> {
  return Map.groupBy(
    rows.filter(({ type }) => type === 'snapshot'),
    ({ name }) => datasetOf(name),
  )
}

/** Of what was rolled back, that of what it was before: its own past is nobody's origin. */
export function originOf({ row, pasts }: StandingVolume): string {
  const byName = new Map(pasts.map((past) => [past.row.name, past.row.origin]))
  let origin = row.origin
  for (let steps = 0; steps <= pasts.length; steps += 1) origin = byName.get(datasetOf(origin)) ?? origin
  return origin
}

/** Of the volume whose snapshot this is, which may lie with one of its pasts. */
export function pathOf(root: string, snapshot: VolumeRow): string {
  const dataset = datasetOf(snapshot.name)
  return isHidden(root, dataset) && snapshot[PAST_OF] !== '-' ? snapshot[PAST_OF] : pathBelow(root, dataset)
}

/** What clients see, whichever of its pasts they lie with. */
export function visibleSnapshots({ snapshots, pasts }: StandingVolume): readonly VolumeRow[] {
  const all = [...snapshots, ...pasts.flatMap((past) => past.snapshots)]
  return all.filter(({ name }) => !isHiddenSnapshot(name))
}

export function toSnapshot(row: VolumeRow): VolumeSnapshot {
  return {
    name: row.name.slice(row.name.indexOf('@') + 1),
    guid: row.guid,
    sizeBytes: Number(row.volsize),
    createdAtMs: 1_000 * Number(row.creation),
  }
}

/**
 * `written` counts since the newest snapshot, of a clone's first one since the origin. What the kernel has not yet put into a
 * transaction (up to 5 s) is not seen.
 */
function isWritten(row: VolumeRow, snapshots: readonly VolumeRow[]): boolean {
  if (row.origin === '-') return Number(row.logicalreferenced) > EMPTY_LOGICAL_BYTES
  const fresh = row[FRESH] === '-' ? FRESH_BYTES : Number(row[FRESH])
  return [row, ...snapshots].some(({ written }) => Number(written) > fresh)
}
