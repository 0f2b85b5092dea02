import { FleetError } from '../../../shared/errors.ts'
import { sweepEach } from '../../drivers/sweep-each.ts'
import { deviceOf, VOLUME_MODE } from '../../zfs/devices.ts'
import { nameBelow, newNameBelow, parentsOf } from '../../zfs/names.ts'
import { inTurn } from '../../zfs/turns.ts'
import type { StagedVolume, StageRequest, Volume } from '../volumes.ts'
import { datasetOf, isStaged, newStagedName, PAST_OF, PASTS, pastName, pastNames, TAKES } from './hidden-names.ts'
import { makeParents } from './parents.ts'
import { snapshotRowOf, tidyPasts } from './pasts.ts'
import type { ZvolPlace } from './zvol-place.ts'

/** A value of a user property is at most 8191 bytes; each guid takes up to 21. */
const MAX_PASTS = 300

/**
 * A zvol of ours beside the volumes, until it is put. Where it takes the name of another one, that is no destruction of anything: the
 * other gets a hidden name and keeps its snapshots, which are the volume's from then on as they were before (`hidden-names.ts`). What is
 * staged says whose name it takes before the first of the two renames, so that `sweep` ends what was cut off between them.
 */
export async function stageZvol(
  place: ZvolPlace,
  request: StageRequest & { readonly createOptions: readonly string[] },
  { find, signal }: { readonly find: (volume: string) => Promise<Volume | undefined>; readonly signal: AbortSignal },
): Promise<StagedVolume> {
  const { zfs, looks, root, pool, devices, destroy } = place
  const { volume, content, createParent } = request
  const target = newNameBelow(root, volume)
  if (!createParent) await requireParent(place, target, signal)
  const name = newStagedName(root)
  const source = 'snapshot' in content ? await snapshotRowOf(place, { volume, ...content }, signal) : undefined
  if ('snapshot' in content && source === undefined)
    throw new FleetError('not_found', `there is no snapshot ${volume}@${content.snapshot}`)
  await inTurn(pool, () =>
    source === undefined
      ? zfs.call(['create', '-s', ...request.createOptions, name], signal)
      : zfs.call(['clone', '-o', VOLUME_MODE, source.name, name], signal),
  )
  let isPut = false
  const discard = () => destroy(name, new AbortController().signal)
  try {
    await devices.settle([deviceOf(name)], signal)
    const row = (await looks.look([name], 0, signal)).get(name)
    if (row === undefined) throw new FleetError('internal', 'a volume vanished after it was staged')
    return {
      guid: row.guid,
      sizeBytes: Number(row.volsize),
      device: deviceOf(name),

      async put(mode, watch) {
        if (watch.signal.aborted) throw new FleetError('cancelled', 'cancelled')
        await inTurn(pool, async () => {
          if (mode === 'new') await putNew(place, { name, target, createParent }, watch.signal)
          else await putOver(place, { name, target, volume })
        })
        isPut = true
        await devices.settleOwn(target, new AbortController().signal)
        await tidyPasts(place, target, new AbortController().signal)
        const put = await find(volume)
        if (put === undefined) throw new FleetError('internal', `volume ${volume} vanished after it was put`)
        return put
      },

      async [Symbol.asyncDispose]() {
        if (!isPut) await discard()
      },
    }
  } catch (error) {
    await discard()
    throw error
  }
}

async function requireParent({ zfs, root }: ZvolPlace, target: string, signal: AbortSignal): Promise<void> {
  const parent = parentsOf(root, target).at(-1)
  if (parent === undefined) return
  const request = { columns: ['name'], types: ['filesystem'], names: [parent], depth: 0 } as const
  if ((await zfs.list(request, signal)).length === 0)
    throw new FleetError('not_found', `the parent of ${target.slice(root.length + 1)} is not there`)
}

async function putNew(
  { zfs, root, looks }: ZvolPlace,
  { name, target, createParent }: { readonly name: string; readonly target: string; readonly createParent: boolean },
  signal: AbortSignal,
): Promise<void> {
  const path = target.slice(root.length + 1)
  if ((await looks.look([target], 0, signal)).has(target)) throw new FleetError('exists', `${path} is there already`)
  if (createParent) await makeParents({ zfs, root, names: [target] }, signal)
  await zfs.call(['rename', name, target], signal)
}

/** From its first change on it goes through: half of it would be ended by the next sweep. */
async function putOver(
  { zfs, root, looks }: ZvolPlace,
  { name, target, volume }: { readonly name: string; readonly target: string; readonly volume: string },
): Promise<void> {
  const { signal } = new AbortController()
  const row = (await looks.look([target], 0, signal)).get(target)
  if (row?.type !== 'volume') throw new FleetError('not_found', `there is no volume ${volume}`)
  const pasts = [...(row[PASTS] === '-' ? [] : row[PASTS].split(',')), row.guid]
  if (pasts.length > MAX_PASTS)
    throw new FleetError(
      'conflict',
      `volume ${volume} was replaced too often for its snapshots to be kept: delete some`,
    )
  await zfs.call(['set', `${PAST_OF}=${volume}`, target], signal)
  await zfs.call(['set', `${PASTS}=${pasts.join()}`, `${TAKES}=${volume}`, name], signal)
  await zfs.call(['rename', target, pastName(root, row.guid)], signal)
  await zfs.call(['rename', name, target], signal)
}

/** What was staged goes, but for what had begun to take a name: that gets it. */
export async function sweepStaged(place: ZvolPlace): Promise<void> {
  const { zfs, looks, root, pool, destroy } = place
  const { signal } = new AbortController()
  const request = { columns: ['name', PASTS, TAKES], types: ['volume'], names: [root] } as const
  const rows = await zfs.list(request, signal)
  const staged = rows.filter(({ name }) => isStaged(root, name))
  await sweepEach(staged, async (row) => {
    const target = row[TAKES] === '-' ? undefined : nameBelow(root, row[TAKES])
    const old = pastNames(root, row[PASTS]).at(-1)
    const standing = await looks.look(
      [target, old].filter((name) => name !== undefined),
      0,
      signal,
    )
    const isHalf = target !== undefined && old !== undefined && !standing.has(target) && standing.has(old)
    if (isHalf) await inTurn(pool, () => zfs.call(['rename', row.name, target], signal))
    else await destroy(row.name, signal)
  })
  const replaced = rows.filter((row) => row[PASTS] !== '-' && !isStaged(root, row.name))
  for (const { name } of replaced) if (name === datasetOf(name)) await tidyPasts(place, name, signal)
}
