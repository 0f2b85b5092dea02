import { deviceOf } from '../../zfs/devices.ts'
import { pathBelow } from '../../zfs/names.ts'
import type { Zfs, ZfsRow } from '../../zfs/zfs.ts'
import type { Volume, VolumeSnapshot } from '../volumes.ts'

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
] as const
export type VolumeRow = ZfsRow<(typeof COLUMNS)[number]>

/** Of clones that others made: two copies of a header of 8 KiB. A first write counts several times of that. */
const FRESH_BYTES = 16_384
/** ZFS counts a volume that was never written to as this much: its objects alone, before compression. Seen with 2.1. */
const EMPTY_LOGICAL_BYTES = 32_768

export interface VolumeLooks {
  /** File systems, volumes and snapshots by their full names; one level deeper too, where `depth` is 1. */
  look(names: readonly string[], depth: 0 | 1, signal: AbortSignal): Promise<ReadonlyMap<string, VolumeRow>>
  /**
   * What these rows are, with one more question for where clones come from, unless all of that is known.
   * @param rows with those of their own snapshots
   */
  volumes(
    rows: readonly { readonly row: VolumeRow; readonly snapshots: readonly VolumeRow[] }[],
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

    async volumes(rows, signal, known = new Map()) {
      const unknown = rows.map(({ row }) => row.origin).filter((origin) => origin !== '-' && !known.has(origin))
      const asked = unknown.length === 0 ? new Map<string, VolumeRow>() : await look(unknown, 0, signal)
      return rows.map(({ row, snapshots }): Volume => {
        const origin = known.get(row.origin) ?? asked.get(row.origin)
        const [volume = '', snapshot = ''] = row.origin.split('@')
        return {
          path: pathBelow(root, row.name),
          sizeBytes: Number(row.volsize),
          device: deviceOf(row.name),
          guid: row.guid,
          // Its snapshot cannot go while the clone is there; what is missing here went with the clone meanwhile.
          origin: origin && { guid: origin.guid, path: pathBelow(root, volume), snapshot },
          isWritten: isWritten(row, snapshots),
        }
      })
    },
  }
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
