import type { ReadAnswerOf, ReadRequestOf } from '../../shared/wire/reads.ts'
import type { ExportKeeper, KeptExport } from '../export/export-keeper.ts'
import type { StandingTarget } from '../export/exports.ts'
import { fitting } from './fitting.ts'

/** Of one export; of more the first are told. */
const MAX_SESSIONS = 1_000

/** What the host exports this moment, with who is logged in. @throws unavailable while its targets cannot be asked */
export async function exportPage(
  exports: ExportKeeper,
  { wwns, cursor = '', limit }: ReadRequestOf<'exports'>,
  signal: AbortSignal,
): Promise<ReadAnswerOf<'exports'>> {
  const { technology, lun } = exports
  const asked = wwns === undefined ? exports.kept() : [...new Set(wwns)].flatMap((wwn) => exports.find(wwn) ?? [])
  const left = asked.filter(({ wwn }) => wwn > cursor).toSorted((a, b) => (a.wwn < b.wwn ? -1 : 1))
  const shown = left.slice(0, limit)
  const standing =
    shown.length === 0
      ? []
      : await exports.standing(
          signal,
          shown.map(({ wwn }) => wwn),
        )
  const byWwn = new Map(standing.map((target) => [target.wwn, target]))
  const items = fitting(shown.map((kept) => told(kept, byWwn.get(kept.wwn))))
  const last = items.at(-1)
  const next = items.length < left.length && last !== undefined ? last.wwn : null
  return { technology, portals: [...exports.portals], lun, items: [...items], next }
}

function told({ wwn, exportId, place, device }: KeptExport, target: StandingTarget | undefined) {
  return {
    wwn,
    exportId,
    place,
    standing: target?.device === device,
    sessions: (target?.sessions ?? []).slice(0, MAX_SESSIONS).map((session) => ({ ...session })),
  }
}
