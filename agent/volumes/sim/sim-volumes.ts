import { setTimeout as pause } from 'node:timers/promises'
import { FleetError, toFleetError } from '../../../shared/errors.ts'
import type { Watch } from '../../drivers/driver.ts'
import type { CloneRequest, Volume, VolumeSnapshot, Volumes } from '../volumes.ts'

interface SimVolume {
  readonly path: string
  readonly sizeBytes: number
  readonly guid: string
  readonly clone: { readonly guid: string; readonly volume: string; readonly snapshot: string } | undefined
  readonly snapshots: Map<string, VolumeSnapshot>
}

/** Volumes of a pool in memory, for fleets of thousands of agents on one machine: forgotten when it ends, and nothing to open. */
export function createSimVolumes({ delayMs = 0 }: { readonly delayMs?: number } = {}): Volumes {
  const volumes = new Map<string, SimVolume>()
  const parents = new Set<string>()
  let made = 0

  async function work({ signal }: Watch): Promise<void> {
    if (delayMs > 0) await pause(delayMs, undefined, { signal }).catch(() => undefined)
    if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
  }

  const newGuid = () => `sim-${++made}`
  const snapshotOf = (volume: string, snapshot: string) => volumes.get(volume)?.snapshots.get(snapshot)

  function shown({ path, sizeBytes, guid, clone }: SimVolume): Volume {
    const isThere = clone !== undefined && snapshotOf(clone.volume, clone.snapshot)?.guid === clone.guid
    const origin = clone && { guid: clone.guid, path: isThere ? clone.volume : undefined, snapshot: clone.snapshot }
    return { path, sizeBytes, device: `/sim/${path}`, guid, origin, isWritten: false }
  }

  function existing(path: string): SimVolume {
    const volume = volumes.get(path)
    if (volume === undefined) throw new FleetError('not_found', `there is no volume ${path}`)
    return volume
  }

  function put(volume: Omit<SimVolume, 'guid' | 'snapshots'>, createParent: boolean): Volume {
    const above = volume.path.split('/').slice(0, -1)
    const parent = above.join('/')
    if (above.length > 0 && !createParent && !parents.has(parent) && !volumes.has(parent)) {
      throw new FleetError('not_found', `the parent of ${volume.path} is not there`)
    }
    for (const n of above.keys()) parents.add(above.slice(0, n + 1).join('/'))
    const one = { ...volume, guid: newGuid(), snapshots: new Map() }
    volumes.set(one.path, one)
    return shown(one)
  }

  function cloneOne({ source, target, createParent }: CloneRequest) {
    const snapshot = snapshotOf(source.volume, source.snapshot)
    const standing = volumes.get(target)
    if (standing?.clone?.volume === source.volume && standing.clone.snapshot === source.snapshot)
      if (snapshot === undefined || snapshot.guid === standing.clone.guid)
        return { volume: shown(standing), reused: true }
    if (standing !== undefined) throw new FleetError('exists', `volume ${target} is there, and is no such clone`)
    if (snapshot === undefined) {
      throw new FleetError('not_found', `there is no snapshot ${source.volume}@${source.snapshot}`)
    }
    const clone = { guid: snapshot.guid, ...source }
    return { volume: put({ path: target, sizeBytes: snapshot.sizeBytes, clone }, createParent), reused: false }
  }

  function clonesOf(guid: string): string[] {
    return [...volumes.values()].filter(({ clone }) => clone?.guid === guid).map(({ path }) => path)
  }

  function refuse(subject: string, blockers: readonly string[]): void {
    if (blockers.length > 0) throw new FleetError('conflict', `${subject} is needed by what rests on it`, { blockers })
  }

  return {
    cow: true,

    async create({ volume, sizeBytes, createParent }, watch) {
      await work(watch)
      const standing = volumes.get(volume)
      if (standing === undefined) return put({ path: volume, sizeBytes, clone: undefined }, createParent)
      if (standing.sizeBytes === sizeBytes && standing.clone === undefined) return shown(standing)
      throw new FleetError('exists', `volume ${volume} is there already, and another one`)
    },

    async snapshot({ volume, snapshot }, watch) {
      await work(watch)
      const { snapshots, sizeBytes } = existing(volume)
      const one = snapshots.get(snapshot) ?? { name: snapshot, guid: newGuid(), sizeBytes, createdAtMs: Date.now() }
      snapshots.set(snapshot, one)
      return one
    },

    async clone(requests, watch) {
      await work(watch)
      return requests.map((request) => {
        try {
          return cloneOne(request)
        } catch (error) {
          return toFleetError(error)
        }
      })
    },

    async part(volume, watch) {
      await work(watch)
      const parted = { ...existing(volume), clone: undefined }
      volumes.set(volume, parted)
      return shown(parted)
    },

    settle: async () => undefined,

    async resize({ volume, sizeBytes }, watch) {
      await work(watch)
      const standing = existing(volume)
      if (standing.sizeBytes > sizeBytes) throw new FleetError('conflict', `volume ${volume} is larger than that`)
      const grown = { ...standing, sizeBytes }
      volumes.set(volume, grown)
      return shown(grown)
    },

    async destroy(volume, watch) {
      await work(watch)
      const snapshots = [...(volumes.get(volume)?.snapshots.values() ?? [])]
      refuse(
        volume,
        snapshots.flatMap(({ name, guid }) => [`${volume}@${name}`, ...clonesOf(guid)]),
      )
      volumes.delete(volume)
    },

    async destroySnapshot(volume, snapshot, watch) {
      await work(watch)
      const standing = snapshotOf(volume, snapshot)
      if (standing !== undefined) refuse(`${volume}@${snapshot}`, clonesOf(standing.guid))
      volumes.get(volume)?.snapshots.delete(snapshot)
    },

    async find(volume) {
      const standing = volumes.get(volume)
      return standing && shown(standing)
    },
    at: () => undefined,
    findSnapshot: async (volume, snapshot) => snapshotOf(volume, snapshot),

    async list(after, limit) {
      const paths = [...volumes.keys()].filter((path) => path > after).sort()
      return paths.slice(0, limit).map((path) => {
        const volume = existing(path)
        return { ...shown(volume), snapshots: [...volume.snapshots.values()] }
      })
    },

    async stage({ volume, content, createParent }, watch) {
      await work(watch)
      const isBlank = 'sizeBytes' in content
      const snapshot = isBlank ? undefined : existing(volume).snapshots.get(content.snapshot)
      if (!isBlank && snapshot === undefined) {
        throw new FleetError('not_found', `there is no snapshot ${volume}@${content.snapshot}`)
      }
      const sizeBytes = isBlank ? content.sizeBytes : (snapshot?.sizeBytes ?? 0)
      const guid = newGuid()
      return {
        ...{ guid, sizeBytes, device: `/sim/${guid}` },
        async put(as, { signal }) {
          if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
          const standing = volumes.get(volume)
          if (as === 'new' && standing !== undefined)
            throw new FleetError('exists', `volume ${volume} is there already`)
          if (as === 'new') put({ path: volume, sizeBytes, clone: undefined }, createParent)
          const { snapshots } = existing(volume)
          const clone = isBlank ? undefined : standing?.clone
          const one = { path: volume, sizeBytes, guid, clone, snapshots }
          volumes.set(volume, one)
          return shown(one)
        },
        [Symbol.asyncDispose]: async () => undefined,
      }
    },

    keepsCaptures: false,
    async capture() {
      throw new FleetError('refused', 'simulated pools hold no bytes')
    },
    findCapture: async () => undefined,
    dropCapture: async () => undefined,

    sweep: async () => undefined,
  }
}
