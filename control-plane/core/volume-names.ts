import { createHash } from 'node:crypto'
import { z } from 'zod'
import { HostName } from '../../shared/ids.ts'
import { SnapshotName, VolumePath } from '../../shared/volume-spec.ts'

/** A volume as clients name it: `<pool>/<name>`. */
export interface VolumeName {
  readonly path: string
  readonly pool: string
  readonly name: string
}
export type VolumeSnapshotName = VolumeName & { readonly snapshot: string }

const NAME = "must be '<pool>/<name>'"
const SNAPSHOT = "must be '<pool>/<name>@<snapshot>'"

export function volumeNameOf(path: string): VolumeName | undefined {
  const slash = path.indexOf('/')
  const [pool, name] = [path.slice(0, Math.max(slash, 0)), path.slice(slash + 1)]
  return HostName.safeParse(pool).success && VolumePath.safeParse(name).success ? { path, pool, name } : undefined
}

export function volumeSnapshotNameOf(path: string): VolumeSnapshotName | undefined {
  const at = path.indexOf('@')
  const [volume, snapshot] = [volumeNameOf(path.slice(0, Math.max(at, 0))), path.slice(at + 1)]
  if (volume === undefined || !SnapshotName.safeParse(snapshot).success) return undefined
  return { ...volume, path, snapshot }
}

/** Texts that name a volume or a snapshot, as what they mean. */
export const VolumeNameText = z.string().transform((path, context) => {
  const name = volumeNameOf(path)
  if (name !== undefined) return name
  context.addIssue({ code: 'custom', message: NAME })
  return z.NEVER
})
export const VolumeSnapshotNameText = z.string().transform((path, context) => {
  const name = volumeSnapshotNameOf(path)
  if (name !== undefined) return name
  context.addIssue({ code: 'custom', message: SNAPSHOT })
  return z.NEVER
})

/** One lane a place on a host, a wwn, and a host's exports as a whole, whether there are rows of them or not: generations of rows wait for each other. */
export const laneOf = {
  volume: (host: string, place: { readonly pool: string; readonly volume: string }) =>
    uuidOf(['volume', host, place.pool, place.volume]),
  wwn: (wwn: string) => uuidOf(['wwn', wwn]),
  exports: (host: string) => uuidOf(['exports', host]),
}

/** Version 8, of a hash. */
function uuidOf(parts: readonly string[]): string {
  const hex = createHash('sha256').update(JSON.stringify(parts)).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}
