import { randomUUID } from 'node:crypto'
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { ExportKeeper } from '../../agent/export/export-keeper.ts'
import { openExports } from '../../agent/export/open-exports.ts'
import type { PipelineTools, StepContext } from '../../agent/pipelines/pipeline.ts'
import { openWork } from '../../agent/pipelines/pipelines.ts'
import { runPipeline } from '../../agent/pipelines/run-pipeline.ts'
import { openOwnDatasets } from '../../agent/points/own-datasets.ts'
import type { Unseal } from '../../agent/points/targets.ts'
import { openVolumes } from '../../agent/volumes/open-volumes.ts'
import type { Volumes } from '../../agent/volumes/volumes.ts'
import { FleetError } from '../../shared/errors.ts'
import type { JobKind, JobSpec, ResultOf } from '../../shared/job-spec.ts'
import { createLogger } from '../../shared/logger.ts'
import type { ExportElement, UnexportElement } from '../../shared/volume-spec.ts'
import { contextOf } from '../contracts/pipeline-contract.ts'
import { freePort } from './free-port.ts'
import type { Login } from './initiator.ts'
import { NO_INSTANCES } from './no-instances.ts'

const MIB = 2 ** 20
const IMAGE_BYTES = 4 * MIB
export const IMAGE_BYTE = 0xa5
export const INITIATOR = 'iqn.2020-01.test:initiator'
export const STRANGER = 'iqn.2020-01.test:stranger'
const unwatched = { signal: new AbortController().signal, progress: () => undefined }

export type PoolKind = 'btrfs' | 'reflink'

/** What of an agent jobs about exports need: pools of files, and a tgtd of its own at a loopback portal. */
export interface ExportHost extends AsyncDisposable {
  readonly tools: PipelineTools
  readonly exports: ExportKeeper
  volumes(pool: string): Volumes
}

/** @param state the agent's own directory. @param pools kinds and paths by name; each is swept first, as an agent does. */
export async function openExportHost(host: {
  readonly state: string
  readonly portal: string
  readonly pools: Readonly<Record<string, { readonly driver: PoolKind; readonly path: string }>>
  /** Its tgtd goes on when this process ends. */
  readonly outlives?: boolean
  readonly unseal?: Unseal
}): Promise<ExportHost> {
  const pools = new Map<string, Volumes>()
  for (const [name, pool] of Object.entries(host.pools)) {
    const opened = await openVolumes({ name, ...pool })
    await opened.sweep()
    pools.set(name, opened)
  }
  const volumes = (pool: string) => {
    const found = pools.get(pool)
    if (found === undefined) throw new FleetError('not_found', `host 'test' has no pool '${pool}'`)
    return found
  }
  const logger = createLogger('agent', 'silent')
  const { state, portal, outlives = false } = host
  const exports = await openExports(
    { technology: 'tgt', portals: [portal], outlives, state },
    { findVolume: ({ pool, volume }) => volumes(pool).find(volume), logger },
  )
  await exports.restore(unwatched.signal)
  const listings = join(state, 'listings')
  mkdirSync(listings, { recursive: true })
  const own = openOwnDatasets(join(state, 'own'))
  // as: points are neither made nor read here, only what is kept for them goes
  const points = { own, listings } as PipelineTools['points']
  const tools: PipelineTools = {
    ...NO_INSTANCES,
    driver() {
      throw new FleetError('unavailable', 'there are no datasets here')
    },
    restorePaths: [],
    forbiddenPaths: [],
    points,
    volumes,
    exports,
    unseal: host.unseal,
  }
  return { tools, exports, volumes, [Symbol.asyncDispose]: () => exports[Symbol.asyncDispose]() }
}

/** A pool with the volume `image` (all of it IMAGE_BYTE) and its snapshot `golden`, on a host of its own. */
export interface ExportRoom extends ExportHost {
  readonly portal: string
  readonly state: string
  element(n: number, part?: Partial<ExportElement>): ExportElement
  run<Spec extends JobSpec>(spec: Spec, context?: Partial<StepContext>): Promise<ResultOf<Spec['kind']>>
  login(element: Pick<ExportElement, 'wwn'>, initiator?: string): Login
  /** Paths of all volumes, exports as they are kept and as they stand. */
  observe(): Promise<{ volumes: string[]; kept: unknown[]; standing: unknown[] }>
}

export function wwnOf(name: string | number): string {
  return `iqn.2020-01.test:disk.${name}`
}

export function unexportOf({ n, wwn, place }: ExportElement, part: Partial<UnexportElement> = {}): UnexportElement {
  return { n, wwn, place, deleteVolume: true, force: false, ...part }
}

/** @param path an empty directory on a file system of that kind */
export async function openExportRoom(wish: {
  readonly driver: PoolKind
  readonly path: string
  readonly unseal?: Unseal
}): Promise<ExportRoom> {
  const state = mkdtempSync('/var/tmp/holdfast-exports-')
  const portal = `127.0.0.1:${await freePort()}`
  const { driver, path, unseal } = wish
  const host = await openExportHost({
    ...{ state, portal, pools: { a: { driver, path } } },
    ...(unseal === undefined ? {} : { unseal }),
  })
  await goldenImage(host.volumes('a'))
  return {
    ...host,
    ...{ portal, state },
    element: (n, part = {}) => ({ ...elementOf(n), ...part }),
    async run<Spec extends JobSpec>(spec: Spec, context: Partial<StepContext> = {}) {
      const { jobId = randomUUID() } = context
      const work = await openWork<JobKind>(spec, jobId, host.tools)
      // As the runner says it of an order that it finds begun.
      const isResumed = (context.memory?.staged() ?? '') !== ''
      const { result } = await runPipeline(work, { ...contextOf(jobId), ...context }, isResumed)
      return result as ResultOf<Spec['kind']> // as: the kind's own pipeline answers so
    },
    login: ({ wwn }, initiator = INITIATOR) => ({ portal, target: wwn, lun: host.exports.lun, initiator }),
    observe: () => observe(host),
    async [Symbol.asyncDispose]() {
      await host[Symbol.asyncDispose]()
      rmSync(state, { recursive: true, force: true })
    },
  }
}

export async function goldenImage(volumes: Volumes): Promise<void> {
  const { device } = await volumes.create({ volume: 'image', sizeBytes: IMAGE_BYTES, createParent: false }, unwatched)
  const file = openSync(device, 'r+')
  writeSync(file, Buffer.alloc(IMAGE_BYTES, IMAGE_BYTE))
  closeSync(file)
  await volumes.snapshot({ volume: 'image', snapshot: 'golden' }, unwatched)
}

export function elementOf(n: number): ExportElement {
  return {
    n,
    source: { pool: 'a', volume: 'image', snapshot: 'golden' },
    place: { pool: 'a', volume: `nodes/disk-${n}` },
    createParent: true,
    wwn: wwnOf(n),
    access: { initiators: [INITIATOR], chapUser: null },
    exportId: randomUUID(),
  }
}

export async function observe(host: Pick<ExportHost, 'exports' | 'volumes'>) {
  const standing = await host.exports.standing(unwatched.signal)
  const volumes = await host.volumes('a').list('', 10_000)
  const byName = <Named extends { readonly wwn: string }>(all: readonly Named[]) =>
    all.toSorted((one, other) => one.wwn.localeCompare(other.wwn))
  return {
    volumes: volumes.map((volume) => volume.path).toSorted(),
    kept: byName(host.exports.kept()).map(({ wwn, place, access }) => [wwn, place.volume, access.initiators.join()]),
    standing: byName(standing).map(({ wwn, initiators, hasChap }) => [wwn, initiators.join(), hasChap]),
  }
}
