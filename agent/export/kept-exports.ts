import { hashExports } from '../../shared/exports-hash.ts'
import type { VolumePlace } from '../../shared/volume-spec.ts'
import { type ExportLog, type LoggedExport, openExportLog } from './export-log.ts'

/** The log, with what is asked of it again and again while nothing of it changes. */
export interface KeptExports extends ExportLog {
  /** Of all of them, as `hashExports` makes it. */
  hash(): string
  /** Those that show the volume of that place. */
  ofVolume(place: VolumePlace): readonly LoggedExport[]
}

export function openKeptExports(path: string): KeptExports {
  const log = openExportLog(path)
  let hash: string | undefined
  let byPlace: ReadonlyMap<string, readonly LoggedExport[]> | undefined

  function changing(change: () => void): void {
    hash = undefined
    byPlace = undefined
    change()
  }

  return {
    ...log,
    keep: (exports) => changing(() => log.keep(exports)),
    drop: (wwns) => changing(() => log.drop(wwns)),
    hash() {
      hash ??= hashExports(log.exports.values())
      return hash
    },
    ofVolume(place) {
      byPlace ??= Map.groupBy(log.exports.values(), (one) => keyOf(one.place))
      return byPlace.get(keyOf(place)) ?? []
    },
  }
}

/** Names of pools hold no slash. */
function keyOf({ pool, volume }: VolumePlace): string {
  return `${pool}/${volume}`
}
