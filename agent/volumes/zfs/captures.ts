import { FleetError } from '../../../shared/errors.ts'
import { Id } from '../../../shared/ids.ts'
import { deviceOf, VOLUME_MODE } from '../../zfs/devices.ts'
import { nameBelow } from '../../zfs/names.ts'
import { inTurn } from '../../zfs/turns.ts'
import type { Capture, CaptureName } from '../volumes.ts'
import { captureSnapshot, PASTS, pastNames, readerName } from './hidden-names.ts'
import { snapshotRowOf, tidyPasts } from './pasts.ts'
import type { VolumeRow } from './volume-rows.ts'
import type { ZvolPlace } from './zvol-place.ts'

/** A hidden snapshot, and a hidden clone of it (or of one that is there) to be read: a snapshot has no device of its own. */
export async function captureZvol(
  place: ZvolPlace,
  { volume, id, snapshot }: CaptureName & { readonly snapshot?: string | undefined },
  signal: AbortSignal,
): Promise<Capture> {
  const { zfs, root, pool, devices } = place
  const standing = await findCaptured(place, { volume, id })
  if (standing === undefined) {
    const source =
      snapshot === undefined
        ? await taken(place, { volume, id }, signal)
        : await existing(place, { volume, snapshot }, signal)
    await inTurn(pool, () => zfs.call(['clone', '-o', VOLUME_MODE, source, readerName(root, id)], signal))
  }
  const capture = standing ?? (await findCaptured(place, { volume, id }))
  if (capture === undefined) throw new FleetError('internal', 'a capture vanished after it was made')
  await devices.settle([capture.device], signal)
  return capture
}

export async function findCaptured({ looks, root }: ZvolPlace, { id }: CaptureName): Promise<Capture | undefined> {
  const name = readerName(root, checkedId(id))
  const row = (await looks.look([name], 0, new AbortController().signal)).get(name)
  return row && { device: deviceOf(name), sizeBytes: Number(row.volsize) }
}

/** The snapshot that a capture is read of, wherever it lies by now. */
export async function snapshotOfCapture(
  { looks, root }: Pick<ZvolPlace, 'looks' | 'root'>,
  { id }: CaptureName,
  signal: AbortSignal,
): Promise<VolumeRow | undefined> {
  const reader = readerName(root, checkedId(id))
  const origin = (await looks.look([reader], 0, signal)).get(reader)?.origin
  return origin === undefined ? undefined : (await looks.look([origin], 0, signal)).get(origin)
}

export async function dropCaptured(place: ZvolPlace, { volume, id }: CaptureName): Promise<void> {
  const { looks, root, destroy } = place
  const { signal } = new AbortController()
  await destroy(readerName(root, checkedId(id)), signal)
  const name = nameBelow(root, volume)
  const row = (await looks.look([name], 0, signal)).get(name)
  if (row === undefined) return
  for (const dataset of [name, ...pastNames(root, row[PASTS])]) await destroy(captureSnapshot(dataset, id), signal)
  // A snapshot may have waited for it to go.
  await tidyPasts(place, name, signal)
}

/** @returns its full name */
async function taken(
  { zfs, looks, root }: ZvolPlace,
  { volume, id }: CaptureName,
  signal: AbortSignal,
): Promise<string> {
  const name = nameBelow(root, volume)
  const source = captureSnapshot(name, id)
  const rows = await looks.look([name, source], 0, signal)
  if (rows.get(name)?.type !== 'volume') throw new FleetError('not_found', `there is no volume ${volume}`)
  if (!rows.has(source)) await zfs.call(['snapshot', source], signal)
  return source
}

async function existing(
  place: ZvolPlace,
  { volume, snapshot }: { readonly volume: string; readonly snapshot: string },
  signal: AbortSignal,
): Promise<string> {
  const row = await snapshotRowOf(place, { volume, snapshot }, signal)
  if (row === undefined) throw new FleetError('not_found', `there is no snapshot ${volume}@${snapshot}`)
  return row.name
}

export function checkedId(id: string): string {
  if (Id.safeParse(id).success) return id
  throw new FleetError('invalid', 'that is no id of a point')
}
