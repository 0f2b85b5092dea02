import { constants, statSync } from 'node:fs'
import { FleetError } from '../../../shared/errors.ts'
import type { InstanceSnapshotted } from '../../../shared/instance-spec.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import type { Watch } from '../../drivers/driver.ts'
import { syncFileSystem } from '../../native/file-system.ts'
import { close, openWithoutLinks } from '../../native/paths.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import type { PipelineTools } from '../pipeline.ts'
import { unwatched } from '../volume/unwatched.ts'

type Spec = SpecOf<'instance.snapshot'>['parts'][number]
type Taken = InstanceSnapshotted['parts'][number]

/** One snapshot that is to be taken, whatever it is of. */
interface Part {
  /** For people, where they are told why it is not. */
  readonly what: string
  /** It is of one instant also while its source is written to. */
  readonly isOneInstant: boolean
  isThere(): Promise<boolean>
  /** A file or directory on the file system that holds its source; undefined where none does (a device, a simulated pool). */
  source(): Promise<string | undefined>
  take(watch: Watch): Promise<Taken>
  takeBack(): Promise<void>
}

/** Snapshots of datasets and volumes that are taken together, or not at all. */
export class PartSnapshots {
  readonly #parts: readonly Part[]

  /** @throws not_found, unavailable: pools that this agent does not have, or that hold no volumes; invalid */
  constructor(parts: readonly Spec[], tools: PipelineTools) {
    this.#parts = parts.map((part) =>
      part.kind === 'dataset' ? datasetPart(part, tools) : volumePart(part.place, tools),
    )
  }

  /** Each may be taken while its source is written to. */
  get areOneInstantEach(): boolean {
    return this.#parts.every(({ isOneInstant }) => isOneInstant)
  }

  /** @throws exists */
  async requireFree(): Promise<void> {
    for (const { what, isThere } of this.#parts)
      if (await isThere()) throw new FleetError('exists', `${what} is there already`)
  }

  /** What is dirty is written before anything stands still for it. */
  async prepare(): Promise<void> {
    const paths = await Promise.all(this.#parts.map(({ source }) => source()))
    for (const path of byDevice(paths).values()) await syncAt(path)
  }

  /** All at one time. Waits for each, so that what is taken back afterwards does not appear behind that. */
  async take(watch: Watch): Promise<readonly Taken[]> {
    const taken = await Promise.allSettled(this.#parts.map((part) => part.take(watch)))
    return taken.map((one) => {
      if (one.status === 'rejected') throw one.reason
      return one.value
    })
  }

  /** All that are there; tries each. @throws what the first of those that stay says */
  async takeBack(): Promise<void> {
    const ended = await Promise.allSettled(this.#parts.map((part) => part.takeBack()))
    for (const one of ended) if (one.status === 'rejected') throw one.reason
  }
}

function datasetPart({ source, target }: Extract<Spec, { kind: 'dataset' }>, tools: PipelineTools): Part {
  if (source.pool !== target.pool) throw new FleetError('invalid', 'source and target must be in one pool')
  const driver = tools.driver(source.pool)
  return {
    what: `dataset ${target.dataset}`,
    isOneInstant: driver.capabilities.atomic,
    isThere: async () => (await driver.find(target.dataset)) !== undefined,
    source: async () => (driver.name === 'sim' ? undefined : (await driver.find(source.dataset))?.mountpoint),
    async take(watch) {
      const request = { source: source.dataset, target: target.dataset, readonly: true }
      const { rootInode, mountpoint, atomic, cow } = await driver.snapshot(request, watch)
      return { kind: 'dataset', rootInode, mountpoint, atomic, cow }
    },
    takeBack: () => driver.destroy(target.dataset, unwatched()),
  }
}

function volumePart(place: Extract<Spec, { kind: 'volume' }>['place'], tools: PipelineTools): Part {
  const { pool, volume, snapshot } = place
  const volumes = tools.volumes(pool)
  return {
    what: `snapshot ${volume}@${snapshot}`,
    isOneInstant: volumes.cow,
    isThere: async () => (await volumes.findSnapshot(volume, snapshot)) !== undefined,
    source: async () => (await volumes.find(volume))?.device,
    async take(watch) {
      const blockers = volumes.cow ? [] : tools.exports.ofVolume({ pool, volume }).map(({ wwn }) => wwn)
      if (blockers.length > 0) {
        // What an initiator has in memory it writes, whoever stands still there.
        const why = 'is exported, and a copy of what is written meanwhile is no snapshot'
        throw new FleetError('conflict', `volume ${volume} ${why}`, { blockers })
      }
      const { guid, sizeBytes } = await volumes.snapshot({ volume, snapshot }, watch)
      return { kind: 'volume', guid, sizeBytes }
    },
    takeBack: () => volumes.destroySnapshot(volume, snapshot, unwatched()),
  }
}

/** One of the regular files and directories of each file system. */
function byDevice(paths: readonly (string | undefined)[]): ReadonlyMap<number, string> {
  const found = new Map<number, string>()
  for (const path of paths) {
    const status = path === undefined ? undefined : statSync(path, { throwIfNoEntry: false })
    if (path !== undefined && status && (status.isFile() || status.isDirectory())) found.set(status.dev, path)
  }
  return found
}

/** What cannot be opened says so when it is taken. */
async function syncAt(path: string): Promise<void> {
  let fd: number
  try {
    fd = openWithoutLinks(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    if (errorCodeOf(error) === undefined) throw error
    return
  }
  try {
    await syncFileSystem(fd)
  } finally {
    close(fd)
  }
}
