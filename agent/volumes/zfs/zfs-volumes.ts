import { FleetError } from '../../../shared/errors.ts'
import { VolumePath } from '../../../shared/volume-spec.ts'
import type { Run } from '../../exec/run.ts'
import { deviceOf, LINK_MS, seen, settleDevices, settleOwn, VOLUME_MODE } from '../../zfs/devices.ts'
import { checkedRoot, nameBelow, newNameBelow, pathBelow, poolOf } from '../../zfs/names.ts'
import { inTurn } from '../../zfs/turns.ts'
import { openZfs, type Zfs } from '../../zfs/zfs.ts'
import type { Volume, Volumes } from '../volumes.ts'
import { changesSince, dropBookmarks, findBookmark, keepBookmark } from './bases.ts'
import { captureZvol, dropCaptured, findCaptured } from './captures.ts'
import { cloneAll } from './clone-volumes.ts'
import { createDestroyer } from './destroyer.ts'
import { createFinder } from './finder.ts'
import { isHidden } from './hidden-names.ts'
import { makeParents } from './parents.ts'
import { destroySnapshot, destroyVolume, snapshotRowOf } from './pasts.ts'
import { stageZvol, sweepStaged } from './staged-zvol.ts'
import { createVolumeLooks, toSnapshot, visibleSnapshots } from './volume-rows.ts'
import type { ZvolDevices, ZvolPlace } from './zvol-place.ts'

/** `zfs create` rounds sizes to this (zfs-create(8)), so that every block size divides them. */
const SIZE_GRAIN_BYTES = 131_072
const BLOCK_SIZE = '16k'

/**
 * Volumes are zvols below `root`, sparse; clones are clones. Each of create, snapshot, clone and destroy is one transaction of ZFS, so
 * nothing is staged under another name for these. What others made there is served like our own.
 * @param root the name of a file system of ZFS, like `tank` or `tank/volumes`
 * @throws invalid, unavailable
 */
export async function openZfsVolumes(root: string, exec?: Run): Promise<Volumes> {
  return createZfsVolumes({ root, zfs: openZfs(exec), devices: zvolDevices(exec) })
}

/** As udevd makes them on this host. */
export function zvolDevices(exec?: Run): ZvolDevices {
  return {
    settle: (names, signal) => settleDevices(names, signal, exec),
    seen: (name, signal) => seen(deviceOf(name), LINK_MS, signal),
    settleOwn: (name, signal) => settleOwn(name, signal, exec),
  }
}

/** @throws invalid, unavailable */
export async function createZfsVolumes({
  root,
  zfs,
  devices,
}: Pick<ZvolPlace, 'root' | 'zfs' | 'devices'>): Promise<Volumes> {
  const looks = createVolumeLooks(zfs, checkedRoot(root))
  const pool = poolOf(root)
  const destroy = createDestroyer({ zfs, root, pool })
  await requireFileSystem(zfs, root)
  const place: ZvolPlace = { zfs, looks, root, pool, devices, destroy }

  const fullName = (volume: string, snapshot?: string) => nameBelow(root, volume, snapshot)

  const findTogether = createFinder(looks)
  const find = async (volume: string): Promise<Volume | undefined> => findTogether(fullName(volume))

  async function found(volume: string): Promise<Volume> {
    const there = await find(volume)
    if (there === undefined) throw new FleetError('internal', `volume ${volume} vanished after it was made`)
    return there
  }

  const blank = (sizeBytes: number) => [
    '-o',
    VOLUME_MODE,
    '-o',
    `volblocksize=${BLOCK_SIZE}`,
    '-V',
    roundedUp(sizeBytes),
  ]

  return {
    cow: true,

    async create({ volume, sizeBytes, createParent }, { signal }) {
      const name = newNameBelow(root, volume)
      const size = roundedUp(sizeBytes)
      return inTurn(pool, async () => {
        const row = (await looks.look([name], 0, signal)).get(name)
        if (row !== undefined) {
          if (row.type === 'volume' && row.volsize === size && row.origin === '-') return found(volume)
          throw new FleetError('exists', `${volume} is there already`)
        }
        if (createParent) await makeParents({ zfs, root, names: [name] }, signal)
        await zfs.call(['create', '-s', ...blank(sizeBytes), name], signal)
        return found(volume)
      })
    },

    async snapshot({ volume, snapshot }, { signal }) {
      const name = fullName(volume, snapshot)
      const there = await snapshotRowOf(place, { volume, snapshot }, signal)
      if (there !== undefined) return toSnapshot(there)
      if ((await find(volume)) === undefined) throw new FleetError('not_found', `there is no volume ${volume}`)
      await zfs.call(['snapshot', name], signal).catch((error) => {
        if (!(error instanceof FleetError) || error.code !== 'exists') throw error // another call took it
      })
      const made = await snapshotRowOf(place, { volume, snapshot }, signal)
      if (made === undefined) throw new FleetError('internal', `snapshot ${snapshot} vanished after it was taken`)
      return toSnapshot(made)
    },

    clone: (requests, { signal }) => inTurn(pool, () => cloneAll(place, requests, signal)),

    settle: (volumes, { signal }) =>
      devices.settle(
        volumes.map(({ device }) => device),
        signal,
      ),

    resize({ volume, sizeBytes }, { signal }) {
      const name = fullName(volume)
      return inTurn(pool, async () => {
        const before = await find(volume)
        if (before === undefined) throw new FleetError('not_found', `there is no volume ${volume}`)
        const size = Math.ceil(sizeBytes / SIZE_GRAIN_BYTES) * SIZE_GRAIN_BYTES
        if (before.sizeBytes === size) return before
        if (before.sizeBytes > sizeBytes) throw new FleetError('conflict', `volume ${volume} is larger than that`)
        await zfs.call(['set', `volsize=${size}`, name], signal)
        return found(volume)
      })
    },

    async destroy(volume, { signal }) {
      await destroyVolume(place, volume, signal)
    },

    async destroySnapshot(volume, snapshot, { signal }) {
      await destroySnapshot(place, { volume, snapshot }, signal)
    },

    find,

    async findSnapshot(volume, snapshot) {
      const row = await snapshotRowOf(place, { volume, snapshot }, new AbortController().signal)
      return row && toSnapshot(row)
    },

    at(device) {
      const below = `${deviceOf(root)}/`
      const path = device.startsWith(below) ? device.slice(below.length) : ''
      return VolumePath.safeParse(path).success ? path : undefined
    },

    async list(after, limit) {
      const { signal } = new AbortController()
      const all = await zfs.list({ columns: ['name'], types: ['volume'], names: [root] }, signal)
      const names = all
        .map(({ name }) => name)
        .filter((name) => !isHidden(root, name) && pathBelow(root, name) > after)
        .sort()
        .slice(0, limit)
      if (names.length === 0) return []
      const standing = await looks.standing(names, signal)
      const volumes = await looks.volumes(standing, signal)
      return volumes.map((volume, index) => {
        const one = standing[index]
        return { ...volume, snapshots: one === undefined ? [] : visibleSnapshots(one).map(toSnapshot) }
      })
    },

    stage(request, { signal }) {
      const createOptions = 'sizeBytes' in request.content ? blank(request.content.sizeBytes) : []
      return stageZvol(place, { ...request, createOptions }, { find, signal })
    },

    keepsCaptures: true,
    capture: (request, { signal }) => captureZvol(place, request, signal),
    findCapture: (name) => findCaptured(place, name),
    async dropCapture(name) {
      await dropCaptured(place, name)
      await dropBookmarks(place, name)
    },
    bases: {
      keep: (name) => keepBookmark(place, name),
      has: async (name) => (await findBookmark(place, name)) !== undefined,
      changes: (between, take, signal) => changesSince(place, { ...between, take }, signal),
    },

    sweep: () => sweepStaged(place),
  }
}

/** In bytes. */
function roundedUp(sizeBytes: number): string {
  return String(Math.ceil(sizeBytes / SIZE_GRAIN_BYTES) * SIZE_GRAIN_BYTES)
}

async function requireFileSystem(zfs: Zfs, root: string): Promise<void> {
  const request = { columns: ['name', 'type'], types: ['filesystem'], names: [root], depth: 0 } as const
  const [row] = await zfs.list(request, new AbortController().signal)
  if (row === undefined)
    throw new FleetError('unavailable', 'the dataset of ZFS that the pool names is not there', { detail: root })
}
