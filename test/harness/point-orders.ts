import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { appendFileSync, linkSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import type { Driver } from '../../agent/drivers/driver.ts'
import { openDriver } from '../../agent/drivers/registry.ts'
import type { JobMemory, PipelineTools, StepContext } from '../../agent/pipelines/pipeline.ts'
import { openWork } from '../../agent/pipelines/pipelines.ts'
import { PipelineFailure, runPipeline } from '../../agent/pipelines/run-pipeline.ts'
import type { Points } from '../../agent/points/open-points.ts'
import type { Unseal } from '../../agent/points/targets.ts'
import type { FleetError } from '../../shared/errors.ts'
import type { JobKind, JobSpec, ResultOf, SpecOf } from '../../shared/job-spec.ts'
import type { OrderTarget, PointRef } from '../../shared/point-spec.ts'
import { LocalTargetConfig } from '../../shared/target-config.ts'
import { contextOf, memoryOf } from '../contracts/pipeline-contract.ts'
import { mountLoop, temporaryDirectory } from './loop-mount.ts'
import { NO_INSTANCES } from './no-instances.ts'
import { pointsOf } from './points.ts'

export const SERIES = 'group/host/data'
const unwatched = { signal: new AbortController().signal, progress: () => undefined }

interface RunOptions {
  readonly memory?: JobMemory
  readonly jobId?: string
  readonly context?: Partial<StepContext>
  readonly tools?: PipelineTools
}

/** A pool with a dataset, and orders about points of it, run as an agent runs them. */
export interface PointOrders {
  readonly driver: Driver
  readonly tools: PipelineTools
  readonly points: Points & { readonly state: string }
  readonly dataset: string
  /** The dataset's root on this host. */
  readonly root: string
  /** Where an agent's own target keeps points. */
  readonly backups: string
  readonly pool: string
  readonly outside: string
  readonly target: OrderTarget
  create(bases?: readonly PointRef[], changed?: Partial<SpecOf<'point.create'>>): SpecOf<'point.create'>
  run<Kind extends JobKind>(spec: SpecOf<Kind> & { readonly kind: Kind }, options?: RunOptions): Promise<ResultOf<Kind>>
}

export function refOf(spec: SpecOf<'point.create'>): PointRef {
  return { id: spec.pointId, name: spec.name }
}

export const OWN_TARGET: OrderTarget = {
  id: null,
  config: LocalTargetConfig.parse({ protocol: 'local', name: 'own', base: '/' }),
  secretId: null,
  recipients: [],
}

export async function pointOrders(
  t: Pick<ExecutionContext, 'teardown'>,
  options: {
    readonly driver?: 'btrfs' | 'reflink' | 'copy'
    readonly on?: string
    readonly target?: OrderTarget
    readonly unseal?: Unseal
    readonly backupRoot?: string
  } = {},
): Promise<PointOrders> {
  const name = options.driver ?? 'copy'
  const pool = options.on ?? (name === 'btrfs' ? mountLoop(t, 'btrfs', 512 * 2 ** 20) : temporaryDirectory(t))
  const outside = temporaryDirectory(t)
  const driver = await openDriver({ name: 'a', path: pool, driver: name })
  const { backupRoot } = options
  const config = {
    sourcePaths: [`${outside}/`],
    poolPaths: [pool],
    ...(backupRoot === undefined ? {} : { backupRoot }),
  }
  const points = pointsOf(t, config, options.unseal)
  const tools: PipelineTools = {
    driver: () => driver,
    restorePaths: [`${outside}/`],
    forbiddenPaths: [pool, points.state],
    points: points.tools,
    ...NO_INSTANCES,
  }
  const dataset = randomUUID()
  const root = (await driver.create(dataset, unwatched)).mountpoint
  const target = options.target ?? OWN_TARGET
  let made = 0
  return {
    ...{ driver, tools, points, dataset, root, pool: join(pool, 'datasets'), outside, target },
    backups: join(points.backupRoot, SERIES),
    create: (bases = [], changed = {}) => ({
      kind: 'point.create',
      target,
      series: SERIES,
      pointId: randomUUID(),
      name: `20260101T0000${String(made++).padStart(2, '0')}Z`,
      source: { kind: 'dataset', place: { pool: 'a', dataset } },
      bases: [...bases],
      fullReason: null,
      consolidate: false,
      compression: 'zstd',
      about: { dataset: 'data' },
      ...changed,
    }),
    async run<Spec extends JobSpec>(spec: Spec, options: RunOptions = {}) {
      const { memory = memoryOf(), jobId = randomUUID(), context = {}, tools: others = tools } = options
      const work = await openWork<JobKind>(spec, jobId, others)
      const { result } = await runPipeline(work, { ...contextOf(jobId, memory), ...context })
      await points.idle()
      return result as ResultOf<Spec['kind']> // as: the kind's own pipeline answers so
    },
  }
}

export async function failureOf(t: ExecutionContext, running: Promise<unknown>): Promise<FleetError> {
  const failure = await t.throwsAsync(running)
  if (!(failure instanceof PipelineFailure)) throw failure
  return failure.cause as FleetError // every expected failure here is operational; t.is on its code tells otherwise
}

/** All of a tree in sorted lines, by find and sha256sum: none of our code. */
export function seen(directory: string): string {
  const script = `cd "$1" && find . -printf '%y %m %U %G %T@ %l %p\\n' | sort && find . -type f -print0 | sort -z | xargs -0r sha256sum`
  return execFileSync('/bin/sh', ['-c', script, 'seen', directory], {
    env: { LC_ALL: 'C', PATH: '/usr/bin:/bin' },
  }).toString()
}

/** What a clone vouches for was not written within the last two seconds. */
export const SETTLED_MS = 2_200

export function fill(root: string): void {
  mkdirSync(join(root, 'docs', 'deep'), { recursive: true })
  writeFileSync(join(root, 'docs', 'a.txt'), 'alpha\n')
  writeFileSync(join(root, 'docs', 'deep', 'big'), Buffer.alloc(9_000_000, 'abcdefg'))
  writeFileSync(join(root, 'empty'), '')
  symlinkSync('docs/a.txt', join(root, 'link'))
  linkSync(join(root, 'docs', 'a.txt'), join(root, 'hard'))
}

export function change(root: string, round: number): void {
  appendFileSync(join(root, 'docs', 'a.txt'), `round ${round}\n`)
  writeFileSync(join(root, `new-${round}`), 'x'.repeat(round))
  if (round === 1) rmSync(join(root, 'empty'))
  if (round === 2) renameSync(join(root, 'docs', 'deep'), join(root, 'moved'))
}

/** A full point and two increments, and what the tree looked like at each. */
export async function threePoints(
  orders: PointOrders,
): Promise<{ readonly refs: PointRef[]; readonly trees: string[] }> {
  const [refs, trees]: [PointRef[], string[]] = [[], []]
  fill(orders.root)
  for (let round = 0; round < 3; round += 1) {
    if (round > 0) change(orders.root, round)
    const spec = orders.create(refs)
    await orders.run(spec)
    refs.push(refOf(spec))
    trees.push(seen(orders.root))
  }
  return { refs, trees }
}

export function readable(orders: Pick<PointOrders, 'target'>, refs: readonly PointRef[]) {
  const last = refs.at(-1)
  if (last === undefined) throw new Error('no points')
  return { target: orders.target, series: SERIES, pointId: last.id, chain: [...refs] }
}

export function restoreTo(
  orders: PointOrders,
  refs: readonly PointRef[],
  destination: SpecOf<'point.restore'>['destination'],
  paths: string[] = [],
): SpecOf<'point.restore'> {
  return { kind: 'point.restore', ...readable(orders, refs), paths, destination }
}
