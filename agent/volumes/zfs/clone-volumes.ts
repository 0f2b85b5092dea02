import { FleetError, toFleetError } from '../../../shared/errors.ts'
import { deviceOf, LINK_MS, seen, VOLUME_MODE } from '../../zfs/devices.ts'
import { nameBelow, newNameBelow, pathBelow, poolOf } from '../../zfs/names.ts'
import type { Zfs } from '../../zfs/zfs.ts'
import type { CloneRequest, Volume } from '../volumes.ts'
import { makeParents } from './parents.ts'
import { FRESH, type VolumeLooks, type VolumeRow } from './volume-rows.ts'

interface Place {
  readonly zfs: Zfs
  readonly looks: VolumeLooks
  readonly root: string
  readonly pool: string
}

interface Named {
  readonly source: string
  readonly target: string
}

/** What a new clone counts as written, by pool, as the last one told. */
const freshOf = new Map<string, string>()

type Standing = ReadonlyMap<string, VolumeRow>
type Made = { readonly name: string; readonly reused: boolean }
type Outcome = Made | Error

/**
 * One question about all that they name, then one `zfs clone` after the other, each waiting for its device: parallel ones lose their
 * links. (2.1 has no `zfs.sync.clone` for a program.) One more question tells what all of them are.
 */
export async function cloneAll(
  place: Place,
  requests: readonly CloneRequest[],
  signal: AbortSignal,
): Promise<readonly ({ readonly volume: Volume; readonly reused: boolean } | Error)[]> {
  const named = requests.map((request) => attempt(() => namesOf(place.root, request)))
  const names = named.flatMap((one) => (one instanceof Error ? [] : [one.source, one.target]))
  const standing = new Map(await place.looks.look(names, 0, signal))
  const outcomes: Outcome[] = []
  for (const [index, one] of named.entries()) {
    const createParent = requests[index]?.createParent === true
    outcomes.push(
      one instanceof Error
        ? one
        : await cloneOne(place, { ...one, createParent, standing }, signal).catch((error) => toFleetError(error)),
    )
  }
  return describe(place, { outcomes, standing }, signal)
}

function namesOf(root: string, { source, target }: CloneRequest): Named {
  return { source: nameBelow(root, source.volume, source.snapshot), target: newNameBelow(root, target) }
}

function attempt<Result>(act: () => Result): Result | Error {
  try {
    return act()
  } catch (thrown) {
    return toFleetError(thrown)
  }
}

async function cloneOne(
  { zfs, root }: Place,
  request: Named & { readonly createParent: boolean; readonly standing: Map<string, VolumeRow> },
  signal: AbortSignal,
): Promise<Outcome> {
  const { source, target, createParent, standing } = request
  if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
  const reused = whetherReused(root, request)
  if (reused) return { name: target, reused: true }
  if (createParent && !hasParent(standing, target)) await makeParents({ zfs, root, names: [target] }, signal)
  const options = ['-o', VOLUME_MODE, '-o', `${FRESH}=${freshOf.get(poolOf(root)) ?? '0'}`]
  await zfs.call(['clone', ...options, source, target], signal).catch((error) => {
    throw error instanceof FleetError && error.code === 'not_found' ? notFound(root, target) : error
  })
  const made = standing.get(source)
  // What a later request of the same target finds.
  if (made !== undefined) standing.set(target, { ...made, name: target, type: 'volume', origin: source, written: '0' })
  await seen(deviceOf(target), LINK_MS, signal)
  return { name: target, reused: false }
}

function whetherReused(root: string, { source, target, standing }: Named & { readonly standing: Standing }): boolean {
  const row = standing.get(source)
  if (row?.type !== 'snapshot' || row.volsize === '-') {
    throw new FleetError('not_found', `there is no volume snapshot ${pathBelow(root, source)}`)
  }
  const there = standing.get(target)
  if (there === undefined) return false
  if (there.type === 'volume' && there.origin === source) return true
  throw new FleetError(
    'exists',
    `${pathBelow(root, target)} is there already, and is no clone of ${pathBelow(root, source)}`,
  )
}

/** Another clone of this call lies beside it. */
function hasParent(standing: Standing, target: string): boolean {
  const parent = target.slice(0, target.lastIndexOf('/') + 1)
  return [...standing.keys()].some((name) => name.startsWith(parent) && name.indexOf('@') === -1)
}

function notFound(root: string, target: string): FleetError {
  return new FleetError('not_found', `the snapshot, or the parent of ${pathBelow(root, target)}, is not there`)
}

async function describe(
  { zfs, looks, pool }: Place,
  { outcomes, standing: before }: { readonly outcomes: readonly Outcome[]; readonly standing: Standing },
  signal: AbortSignal,
) {
  const made = outcomes.filter((outcome): outcome is Made => !(outcome instanceof Error))
  if (made.length === 0) return outcomes.filter((outcome): outcome is Error => outcome instanceof Error)
  // What was just written to one that is used again is not counted before its transaction is through.
  if (made.some(({ reused }) => reused)) await zfs.sync(pool, signal)
  const names = made.map(({ name }) => name)
  const rows = [...(await looks.look(names, 1, signal)).values()]
  const fresh = new Set(made.filter(({ reused }) => !reused).map(({ name }) => name))
  const standing = rows
    .filter(({ type }) => type === 'volume')
    .map((row) => ({ row, snapshots: rows.filter(({ name }) => name.startsWith(`${row.name}@`)) }))
  const known = await noteFresh(zfs, { pool, standing, fresh }, signal)
  const volumes = await looks.volumes(known, signal, before)
  const byName = new Map(known.map(({ row }, index) => [row.name, volumes[index]]))
  return outcomes.map((outcome) => {
    if (outcome instanceof Error) return outcome
    const volume = byName.get(outcome.name)
    return volume
      ? { volume, reused: outcome.reused }
      : new FleetError('internal', 'a clone vanished after it was made')
  })
}

interface StandingVolume {
  readonly row: VolumeRow
  readonly snapshots: readonly VolumeRow[]
}

/** Nobody has written to what was just made: what is counted is what a clone counts. Most were told so when they were made. */
async function noteFresh(
  zfs: Zfs,
  {
    pool,
    standing,
    fresh,
  }: { readonly pool: string; readonly standing: readonly StandingVolume[]; readonly fresh: ReadonlySet<string> },
  signal: AbortSignal,
): Promise<readonly StandingVolume[]> {
  const wrong = standing.filter(({ row }) => fresh.has(row.name) && row[FRESH] !== row.written)
  for (const [written, some] of Map.groupBy(wrong, ({ row }) => row.written)) {
    const names = some.map(({ row }) => row.name)
    for (let first = 0; first < names.length; first += MAX_SET) {
      await zfs.call(['set', `${FRESH}=${written}`, ...names.slice(first, first + MAX_SET)], signal)
    }
    freshOf.set(pool, written)
  }
  return standing.map((one) =>
    fresh.has(one.row.name) ? { ...one, row: { ...one.row, [FRESH]: one.row.written } } : one,
  )
}
/** Names in one call. */
const MAX_SET = 400
