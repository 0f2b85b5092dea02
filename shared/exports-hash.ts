import { createHash } from 'node:crypto'
import type { WantedExport } from './volume-spec.ts'

/**
 * Of a host's exports, whatever their sequence and that of their initiators: agents tell it of what they keep (`Beat.exports`), the
 * control plane compares it with that of its rows. Secrets are no part of it. 43 characters.
 */
export function hashExports(exports: Iterable<WantedExport>): string {
  const lines = [...exports].map(({ exportId, wwn, place, access }) =>
    JSON.stringify([
      ...[wwn, exportId, place.pool, place.volume, access.initiators.toSorted(), access.chapUser],
      // Of one that may be written to it is as it was before there were others.
      ...(access.isReadonly ? ['ro'] : []),
    ]),
  )
  return createHash('sha256').update(lines.toSorted().join('\n')).digest('base64url')
}
