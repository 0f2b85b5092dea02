import { FleetError, toFleetError } from '../../../shared/errors.ts'
import { VOLUME_MODE } from '../../zfs/devices.ts'
import { nameBelow, newNameBelow, pathBelow, poolOf } from '../../zfs/names.ts'
import type { Zfs } from '../../zfs/zfs.ts'
import type { CloneRequest, Volume } from '../volumes.ts'
import { datasetOf, PASTS, pastNames } from './hidden-names.ts'
import { makeParents } from './parents.ts'
import { FRESH, originOf, type StandingVolume, type VolumeRow } from './volume-rows.ts'
import type { ZvolPlace } from './zvol-place.ts'

type Place = Pick<ZvolPlace, 'zfs' | 'looks' | 'root' | 'pool' | 'devices'>

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
  const asked = requests.map((request) => attempt(() => namesOf(place.root, request)))
  const names = asked.flatMap((one) => (one instanceof Error ? [] : [one.source, one.target, datasetOf(one.source)]))
  const standing = new Map(await place.looks.look(names, 0, signal))
  const named = await whereSourcesAre(place, { asked, standing }, signal)
  const changed = names.filter((name) => (standing.get(name)?.[PASTS] ?? '-') !== '-' && !name.includes('@'))
  // What was rolled back is a clone of what it was one of before.
  for (const one of changed.length === 0 ? [] : await place.looks.standing(changed, signal))
    standing.set(one.row.name, { ...one.row, origin: originOf(one) })
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

/** A snapshot may lie with what had the volume's name before. What is found so is added to `standing`. */
async function whereSourcesAre(
  { looks, root }: Place,
  { asked, standing }: { readonly asked: readonly (Named | Error)[]; readonly standing: Map<string, VolumeRow> },
  signal: AbortSignal,
): Promise<readonly (Named | Error)[]> {
  const elsewhere = ({ source }: Named) => {
    const pasts = standing.has(source) ? [] : pastNames(root, standing.get(datasetOf(source))?.[PASTS] ?? '-')
    return pasts.map((past) => `${past}${source.slice(source.indexOf('@'))}`)
  }
  const names = asked.flatMap((one) => (one instanceof Error ? [] : elsewhere(one)))
  if (names.length === 0) return asked
  const found = await looks.look(names, 0, signal)
  const moved = asked.map((one) => {
    if (one instanceof Error) return one
    return { ...one, source: elsewhere(one).find((name) => found.has(name)) ?? one.source }
  })
  for (const [name, row] of found) standing.set(name, row)
  return moved
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
  { zfs, root, devices }: Place,
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
  await devices.seen(target, signal)
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
  const fresh = new Set(made.filter(({ reused }) => !reused).map(({ name }) => name))
  const standing = await looks.standing([...new Set(names)], signal)
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
