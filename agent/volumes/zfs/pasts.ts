import { FleetError } from '../../../shared/errors.ts'
import { nameBelow, pathBelow } from '../../zfs/names.ts'
import { inTurn } from '../../zfs/turns.ts'
import {
  datasetOf,
  goneSnapshot,
  isHidden,
  isHiddenSnapshot,
  PAST_OF,
  PASTS,
  pastNames,
  readerName,
} from './hidden-names.ts'
import { pathOf, type StandingVolume, type VolumeRow, visibleSnapshots } from './volume-rows.ts'
import type { ZvolPlace } from './zvol-place.ts'

const MAX_BLOCKERS = 100
const POINT = '@.point-'
const GONE = '@.gone-'

/** Of the volume, or of what had its name before. */
export async function snapshotRowOf(
  { looks, root }: Pick<ZvolPlace, 'looks' | 'root'>,
  { volume, snapshot }: { readonly volume: string; readonly snapshot: string },
  signal: AbortSignal,
): Promise<VolumeRow | undefined> {
  const [own, name] = [nameBelow(root, volume), nameBelow(root, volume, snapshot)]
  const rows = await looks.look([own, name], 0, signal)
  const there = rows.get(name)
  if (there !== undefined) return there.volsize === '-' ? undefined : there
  const elsewhere = pastNames(root, rows.get(own)?.[PASTS] ?? '-').map((past) => `${past}@${snapshot}`)
  if (elsewhere.length === 0) return undefined
  const found = await looks.look(elsewhere, 0, signal)
  return elsewhere.map((one) => found.get(one)).find((row) => row !== undefined)
}

/** A volume with pasts, or with captures: in steps, each of which is refused by ZFS where something rests on what would go. */
export async function destroyVolume(place: ZvolPlace, volume: string, signal: AbortSignal): Promise<void> {
  const { looks, root, destroy } = place
  const name = nameBelow(root, volume)
  const [standing] = await looks.standing([name], signal)
  const isPlain = standing?.pasts.length === 0 && !standing.snapshots.some((row) => isHiddenSnapshot(row.name))
  if (standing === undefined || isPlain) return destroy(name, signal)
  const visible = visibleSnapshots(standing)
  if (visible.length > 0) {
    const rests = await restsOn(place, visible, signal)
    const blockers = visible.flatMap((row) => [
      `${volume}@${row.name.slice(row.name.indexOf('@') + 1)}`,
      ...(rests.get(row.name) ?? []).filter((path) => path !== volume),
    ])
    throw new FleetError('conflict', `${volume} has snapshots`, { blockers: blockers.slice(0, MAX_BLOCKERS) })
  }
  const all = [...standing.snapshots, ...standing.pasts.flatMap((past) => past.snapshots)]
  const hidden = all.filter((row) => isHiddenSnapshot(row.name)).map((row) => row.name)
  for (const reader of await readersOf(place, hidden, signal)) await destroy(reader, signal)
  for (const one of hidden) if (one.includes(POINT)) await destroy(one, signal)
  // Pasts and what has gone may rest on each other, and on the volume; each round ends at least one of them, or none goes.
  for (let round = 0; round <= standing.pasts.length; round += 1) {
    await destroyPasts(place, standing, signal)
    await destroyGone(place, standing, signal)
  }
  await destroy(name, signal)
  await destroyPasts(place, standing, signal)
}

/** A snapshot that the volume itself rests on goes as far as anybody can tell: for good, once it does not any more. */
export async function destroySnapshot(
  place: ZvolPlace,
  { volume, snapshot }: { readonly volume: string; readonly snapshot: string },
  signal: AbortSignal,
): Promise<void> {
  const row = await snapshotRowOf(place, { volume, snapshot }, signal)
  if (row === undefined) return
  const { zfs, pool, destroy } = place
  const rests = (await restsOn(place, [row], signal)).get(row.name) ?? []
  const blockers = rests.filter((path) => path !== volume && path !== '')
  if (blockers.length > 0)
    throw new FleetError('conflict', `clones rest on ${volume}@${snapshot}`, {
      blockers: blockers.slice(0, MAX_BLOCKERS),
    })
  if (rests.length === 0) await destroy(row.name, signal)
  else await inTurn(pool, () => zfs.call(['rename', row.name, goneSnapshot(row.name, row.guid)], signal))
  await tidyPasts(place, nameBelow(place.root, volume), signal)
}

/**
 * What of a volume's pasts nobody needs any more goes; where only the volume itself needs one, it takes over what it needs. What was done
 * to the volume is done: what fails here is tried again with the next change of it, and when the agent starts.
 */
export async function tidyPasts(place: ZvolPlace, name: string, signal: AbortSignal): Promise<void> {
  await tidy(place, name, signal).catch((error: unknown) => {
    if (!(error instanceof FleetError)) throw error
  })
}

async function tidy(place: ZvolPlace, name: string, signal: AbortSignal): Promise<void> {
  const { zfs, looks, pool } = place
  const look = async () => (await looks.standing([name], signal))[0]
  const first = await look()
  if (first === undefined) return
  await destroyPasts(place, first, signal)
  await destroyGone(place, first, signal)
  if (first.row[PASTS] === '-') return
  const then = await look()
  const below = then?.pasts.find((past) => past.row.name === datasetOf(then.row.origin))
  if (then !== undefined && below?.snapshots.every((row) => isHiddenSnapshot(row.name))) {
    // Its hidden snapshots become the volume's own, and it a clone of them.
    await inTurn(pool, () => zfs.call(['promote', name], signal))
    await destroyPasts(place, then, signal)
    const promoted = await look()
    if (promoted !== undefined) await destroyGone(place, promoted, signal)
  }
  const left = await look()
  if (left === undefined) return
  const guids = left.pasts.map((past) => past.row.name.slice(past.row.name.lastIndexOf('-') + 1))
  if (guids.join() === left.row[PASTS]) return
  await zfs.call(guids.length === 0 ? ['inherit', PASTS, name] : ['set', `${PASTS}=${guids.join()}`, name], signal)
}

async function destroyGone(place: ZvolPlace, standing: StandingVolume, signal: AbortSignal): Promise<void> {
  const all = [...standing.snapshots, ...standing.pasts.flatMap((past) => past.snapshots)]
  for (const { name } of all) if (name.includes(GONE)) await destroyIfFree(place, name, signal)
}

/** The newest first: an older one may be what it is a clone of. */
async function destroyPasts(place: ZvolPlace, standing: StandingVolume, signal: AbortSignal): Promise<void> {
  for (const { row, snapshots } of standing.pasts.toReversed()) {
    for (const { name } of snapshots) if (name.includes(GONE)) await destroyIfFree(place, name, signal)
    await destroyIfFree(place, row.name, signal)
  }
}

async function destroyIfFree({ destroy }: ZvolPlace, name: string, signal: AbortSignal): Promise<void> {
  await destroy(name, signal).catch((error: unknown) => {
    if (!(error instanceof FleetError) || (error.code !== 'conflict' && error.code !== 'busy')) throw error
  })
}

/** What captures are read by: of a client's snapshot that is gone, too. */
async function readersOf(
  { zfs, root }: ZvolPlace,
  names: readonly string[],
  signal: AbortSignal,
): Promise<readonly string[]> {
  const rows = await zfs.list({ columns: ['name', 'clones'], types: ['snapshot'], names, depth: 0 }, signal)
  return rows.flatMap(clonesOf).filter((name) => name.startsWith(readerName(root, '')))
}

function clonesOf({ clones }: { readonly clones: string }): readonly string[] {
  return clones === '-' || clones === '' ? [] : clones.split(',')
}

/** Paths of the volumes that rest on each of these: of a past, that of its volume; '' for what is only staged or read for a moment. */
async function restsOn(
  { zfs, looks, root }: ZvolPlace,
  snapshots: readonly VolumeRow[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const names = snapshots.map(({ name }) => name)
  const request = { columns: ['name', 'clones'], types: ['snapshot'], names, depth: 0 } as const
  const rows = await zfs.list(request, signal)
  const hidden = rows.flatMap(clonesOf).filter((name) => isHidden(root, name))
  const pasts = hidden.length === 0 ? new Map<string, VolumeRow>() : await looks.look(hidden, 0, signal)
  const shown = (name: string) => {
    const past = pasts.get(name)
    if (!isHidden(root, name)) return pathBelow(root, name)
    return past === undefined || past[PAST_OF] === '-' ? '' : pathOf(root, past)
  }
  return new Map(rows.map((row) => [row.name, clonesOf(row).map(shown)]))
}
