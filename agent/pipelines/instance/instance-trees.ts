import { constants, existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { FleetError } from '../../../shared/errors.ts'
import { newId } from '../../../shared/ids.ts'
import type { Graft } from '../../archive/write-archive.ts'
import type { PlaceInDataset } from '../../drivers/dataset-at.ts'
import type { ImageInfo, Watch } from '../../drivers/driver.ts'
import { openOverlay } from '../../native/detached-mounts.ts'
import { syncFileSystem } from '../../native/file-system.ts'
import { close, openBeneath, openDirectory, openWithoutLinks } from '../../native/paths.ts'
import { SETTLED_MS } from '../../tree/stamps.ts'
import { openOriginal } from '../original.ts'
import type { PipelineTools } from '../pipeline.ts'
import type { Part } from './instance-plan.ts'

const READ_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY
const unwatched = { signal: new AbortController().signal, progress: () => undefined }

/** A snapshot that is made of a dataset for one job, and claimed before; or one that somebody else has made, and keeps. */
interface Planned {
  readonly pool: string
  readonly source: string
  readonly target: string
  readonly stamps: string
  image: ImageInfo | undefined
}

/**
 * The directories of an instance, open: planned → prepared → taken, in which time it stands still → opened. What is in datasets is
 * read from one snapshot each; the rest as it lives.
 */
export class InstanceTrees {
  readonly #parts: readonly Part[]
  readonly #tools: PipelineTools
  readonly #jobId: string
  readonly #taken: ReadonlyMap<string, string> | undefined
  readonly #planned = new Map<string, Planned>()
  readonly #fds: number[] = []
  #settledBeforeMs = 0

  /** @param taken of each dataset a snapshot, all of one instant; those of all datasets that parts lie in */
  constructor(parts: readonly Part[], jobId: string, tools: PipelineTools, taken?: ReadonlyMap<string, string>) {
    this.#parts = parts
    this.#taken = taken
    this.#jobId = jobId
    this.#tools = tools
  }

  /** Whether some part is read as it lives. */
  get hasLiving(): boolean {
    return this.#parts.some(({ places }) => places === undefined)
  }

  /** Whether all parts are of one instant, whoever writes to them. */
  get isOneInstant(): boolean {
    const planned = [...this.#planned.values()]
    if (this.#taken !== undefined) return !this.hasLiving
    return !this.hasLiving && planned.length === 1 && planned[0]?.image?.atomic === true
  }

  /** All that may take time before it stands still: snapshots are claimed, and what is dirty is written. */
  async prepare(): Promise<void> {
    this.#settledBeforeMs = Date.now() - SETTLED_MS
    for (const { pool, dataset } of this.#parts.flatMap(({ places }) => places ?? [])) {
      if (this.#planned.has(dataset)) continue
      if (this.#taken !== undefined) {
        this.#planned.set(dataset, await this.#found({ pool, dataset, snapshot: this.#taken.get(dataset) ?? '' }))
        continue
      }
      const target = newId()
      this.#tools.points.own.claim({ pool, dataset: target, use: { kind: 'job', jobId: this.#jobId } })
      const stamps = join(this.#tools.points.stamps, target)
      this.#planned.set(dataset, { pool, source: dataset, target, stamps, image: undefined })
    }
    if (this.#taken !== undefined) return
    for (const path of this.#parts.flatMap(({ paths }) => paths)) await syncAt(path)
  }

  async #found(of: { readonly pool: string; readonly dataset: string; readonly snapshot: string }): Promise<Planned> {
    const { pool, dataset: source, snapshot: target } = of
    const found = await this.#tools.driver(pool).find(target)
    if (found === undefined) throw new FleetError('not_found', 'a snapshot that it is read from is gone')
    const stamps = join(this.#tools.points.stamps, target)
    return { pool, source, target, stamps, image: { ...found, atomic: true, cow: true } }
  }

  /** While it stands still. */
  async take(watch: Watch): Promise<void> {
    const taken = await Promise.allSettled(
      [...this.#planned.values()].map(async (planned) => {
        if (this.#taken !== undefined) return
        const { pool, source, target, stamps } = planned
        planned.image = await this.#tools.driver(pool).snapshot({ source, target, readonly: true, stamps }, watch)
      }),
    )
    for (const result of taken) if (result.status === 'rejected') throw result.reason
  }

  /** Of what lives: it is to stand still from before this until all is read. */
  open(): readonly Graft[] {
    return this.#parts.map((part) => (part.places === undefined ? this.#living(part) : this.#image(part, part.places)))
  }

  close(): void {
    for (const fd of this.#fds.splice(0)) close(fd)
  }

  #living({ directory, paths }: Part): Graft {
    const settled = { settledBeforeMs: this.#settledBeforeMs }
    return { path: directory, fd: this.#whole(paths.map((path) => openWithoutLinks(path, READ_DIRECTORY))), ...settled }
  }

  #image({ directory, paths }: Part, places: readonly PlaceInDataset[]): Graft {
    const { image, stamps } = this.#plannedOf(places[0])
    const rootFd = openDirectory(image.mountpoint)
    this.#fds.push(rootFd)
    const inners = places.map(({ inner }) => (inner === '' ? '.' : inner))
    const fd = this.#whole(inners.map((inner) => openBeneath(rootFd, inner, READ_DIRECTORY)))
    // Files of an overlay have other numbers than those that are known.
    if (paths.length !== 1) return { path: directory, fd }
    const live = image.original && openOriginal(image.original, inners[0])
    if (live !== undefined) this.#fds.push(live.fd)
    return { path: directory, fd, live, ...(existsSync(stamps) ? { stamps: { path: stamps, rootFd } } : {}) }
  }

  #plannedOf(place: PlaceInDataset | undefined): { readonly image: ImageInfo; readonly stamps: string } {
    const { image, stamps } = this.#planned.get(place?.dataset ?? '') ?? {}
    if (image === undefined || stamps === undefined) throw new FleetError('internal', 'a snapshot was not taken')
    return { image, stamps }
  }

  /** @param fds of one directory, or of the layers of one; ours from here on */
  #whole(fds: readonly number[]): number {
    const [only = -1] = fds
    if (fds.length === 1) {
      this.#fds.push(only)
      return only
    }
    try {
      const fd = openOverlay(fds)
      this.#fds.push(fd)
      return fd
    } finally {
      for (const fd of fds) close(fd)
    }
  }
}

async function syncAt(path: string): Promise<void> {
  const fd = openWithoutLinks(path, READ_DIRECTORY)
  try {
    await syncFileSystem(fd)
  } finally {
    close(fd)
  }
}

/** Whatever a run of the job, which may have been killed, made of snapshots. @param except what the job makes, and keeps */
export async function dropTrees(jobId: string, { driver, points }: PipelineTools, except?: string): Promise<void> {
  for (const { pool, dataset, use } of points.own.all()) {
    if (use.kind !== 'job' || use.jobId !== jobId || dataset === except) continue
    await driver(pool).destroy(dataset, unwatched)
    points.own.forget(dataset)
    await rm(join(points.stamps, dataset), { force: true })
  }
}
