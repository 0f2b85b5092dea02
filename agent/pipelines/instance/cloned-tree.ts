import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { InstanceCloned } from '../../../shared/instance-spec.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import type { DatasetInfo } from '../../drivers/driver.ts'
import { syncFileSystem } from '../../native/file-system.ts'
import { cString } from '../../native/libc.ts'
import { close } from '../../native/paths.ts'
import { runTreeTask } from '../../tree/tree-task.ts'
import type { PipelineTools, StepContext, UndoContext } from '../pipeline.ts'
import { openRoot } from '../point/restore-new.ts'
import { requireFiles } from '../require-files.ts'
import { type InstancePlan, type Part, planInstance } from './instance-plan.ts'
import { dropTrees, InstanceTrees } from './instance-trees.ts'
import type { MadeTree } from './making.ts'
import { existing, type StandstillEnd, standStill } from './standstill.ts'

type Spec = SpecOf<'instance.clone'>
const Cloned = InstanceCloned.omit({ made: true })
type Cloned = z.infer<typeof Cloned>

/** What was copied of one instance while it was held. */
interface Taken {
  readonly cow: boolean
  /** All of it is of one instant, whoever wrote meanwhile. */
  readonly isOneInstant: boolean
}

/**
 * A dataset that holds the tree of an instance. The instance is held only while snapshots are taken; where parts lie in no pool that has
 * some, until those are cloned.
 */
export class ClonedTree implements MadeTree<Cloned> {
  readonly #spec: Spec
  readonly #jobId: string
  readonly #tools: PipelineTools
  #receipt: Cloned | undefined

  constructor(spec: Spec, jobId: string, tools: PipelineTools) {
    this.#spec = spec
    this.#jobId = jobId
    this.#tools = tools
  }

  async look({ memory }: StepContext): Promise<void> {
    const noted = memory.staged()
    this.#receipt = noted === undefined || noted === '' ? undefined : Cloned.parse(JSON.parse(noted))
    if (this.#receipt !== undefined) return
    const { driver, dataset, own } = this.#target()
    requireFiles(driver)
    if (!own.has(dataset, 'job') && (await driver.find(dataset)) !== undefined)
      throw new FleetError('exists', `dataset ${dataset} is on this host already`)
  }

  async stage(context: StepContext): Promise<void> {
    if (this.#receipt !== undefined) return
    await this.#clear() // what a run that was killed left
    const { source, hold } = this.#spec
    const instances = this.#tools.instances(source.type)
    const instance = await existing(instances, source.instance, context.signal)
    const plan = await planInstance({ instances, instance, hold }, this.#tools, context.signal)
    const { pool, dataset, own } = this.#target()
    own.claim({ pool, dataset, use: { kind: 'job', jobId: this.#jobId } })
    const whole = await this.#wholeDataset(plan)
    const { made, taken, end } =
      whole === undefined ? await this.#parts(plan, context) : await this.#image(plan, whole, context)
    await describe(made.mountpoint, plan)
    const atomic = end.intact || taken.isOneInstant
    const held = end.held === undefined ? {} : { held: end.held }
    const { rootInode, mountpoint } = made
    const receipt: Cloned = { rootInode, mountpoint, atomic, cow: taken.cow, ...held }
    await context.memory.stage(JSON.stringify(receipt))
    this.#receipt = receipt
  }

  async unstage({ memory }: UndoContext): Promise<void> {
    if (this.#receipt !== undefined) await memory.stage('')
    this.#receipt = undefined
    await this.#clear()
  }

  async settle(): Promise<void> {
    this.#tools.points.own.forget(this.#spec.target.dataset)
  }

  result(): Cloned {
    assert(this.#receipt)
    return this.#receipt
  }

  mountpoint(): string {
    return this.result().mountpoint
  }

  async close(): Promise<void> {}

  /** The instance goes on, and snapshots and the target go. */
  async #clear(): Promise<void> {
    await this.#tools.stopped.startAgain(this.#jobId)
    await dropTrees(this.#jobId, this.#tools)
  }

  /** One snapshot is the whole tree, where the instance was made on a dataset of the same pool by one of us. */
  async #image(plan: InstancePlan, whole: string, context: StepContext): Promise<Outcome> {
    const { driver, dataset } = this.#target()
    const found = await driver.find(whole)
    if (found !== undefined) await syncRoot(found.mountpoint)
    return this.#hold(plan, context, async () => {
      const image = await driver.snapshot({ source: whole, target: dataset, readonly: false }, context)
      return { made: image, taken: { cow: image.cow, isOneInstant: image.atomic } }
    })
  }

  /** Each part into its place. */
  async #parts(plan: InstancePlan, context: StepContext): Promise<Outcome> {
    const { driver, dataset } = this.#target()
    const parts = plan.parts.map((part) => this.#worthSnapshot(part))
    const trees = new InstanceTrees(parts, this.#jobId, this.#tools)
    const made = await driver.create(dataset, context)
    mkdirSync(join(made.mountpoint, 'mounts'), { mode: 0o755 })
    const copy = async () => {
      let cow = true
      for (const { path, fd } of trees.open()) cow = (await this.#clone(fd, made, path, context)) && cow
      trees.close()
      return cow
    }
    try {
      await trees.prepare()
      const { taken, end } = await this.#hold(plan, context, async () => {
        await trees.take(context)
        const cow = trees.hasLiving ? await copy() : true
        return { made, taken: { cow, isOneInstant: trees.isOneInstant } }
      })
      const cow = trees.hasLiving ? taken.cow : await copy()
      return { made, taken: { ...taken, cow }, end }
    } finally {
      trees.close()
      await dropTrees(this.#jobId, this.#tools, dataset)
    }
  }

  /** @returns whether no byte was copied */
  async #clone(sourceFd: number, made: DatasetInfo, path: string, context: StepContext): Promise<boolean> {
    const { driver } = this.#target()
    const [folder, name] = path.includes('/') ? ['mounts', path.slice('mounts/'.length)] : ['', path]
    const parentFd = openRoot(join(made.mountpoint, folder))
    try {
      const mode = driver.capabilities.cow ? 'share' : 'copy'
      const task = { subject: 'clone', kind: 'clone', sourceFd, parentFd, name: cString(name), mode } as const
      return (await runTreeTask(task, context)).cow
    } finally {
      close(parentFd)
    }
  }

  async #hold(plan: InstancePlan, { signal }: StepContext, take: () => Promise<Copied>): Promise<Outcome> {
    const { source, hold } = this.#spec
    const standstill = await standStill({
      instances: this.#tools.instances(source.type),
      stopped: this.#tools.stopped,
      turns: this.#tools.turns,
      jobId: this.#jobId,
      id: plan.instance.id,
      hold,
      maxMs: this.#tools.freezeMs,
      signal,
    })
    try {
      const copied = await take()
      return { ...copied, end: await standstill.end() }
    } catch (thrown) {
      await standstill.end().catch(() => undefined) // `unstage` tries again; why it failed matters more
      throw thrown
    }
  }

  /** Where a snapshot is a walk over the dataset, the part alone is walked. */
  #worthSnapshot(part: Part): Part {
    const isAtomic = part.places?.every(({ pool }) => this.#tools.driver(pool).capabilities.atomic) === true
    return isAtomic || part.paths.length > 1 ? part : { ...part, places: undefined }
  }

  /** @returns the dataset that holds all parts where the clone shall have them, and nothing else */
  async #wholeDataset({ parts }: InstancePlan): Promise<string | undefined> {
    const { pool, driver } = this.#target()
    const [dataset] = parts.flatMap(({ places }) => places?.[0]?.dataset ?? [])
    const fits = parts.every(({ directory, places }) => {
      const [place] = places ?? []
      const isThere = place?.pool === pool && place.dataset === dataset && place.inner === directory
      return isThere && places?.length === 1
    })
    if (dataset === undefined || !fits) return undefined
    const found = await driver.find(dataset)
    const directories = new Set(parts.map(({ directory }) => directory))
    return found !== undefined && holdsOnly(found.mountpoint, directories) ? dataset : undefined
  }

  #target() {
    const { pool, dataset } = this.#spec.target
    return { pool, dataset, driver: this.#tools.driver(pool), own: this.#tools.points.own }
  }
}

interface Copied {
  readonly made: DatasetInfo
  readonly taken: Taken
}
interface Outcome extends Copied {
  readonly end: StandstillEnd
}

function holdsOnly(root: string, directories: ReadonlySet<string>): boolean {
  const found = readdirSync(root, { withFileTypes: true }).flatMap((entry) => {
    if (entry.name === 'instance') return []
    if (entry.name !== 'mounts' || !entry.isDirectory()) return [entry.name]
    return readdirSync(join(root, 'mounts')).map((name) => `mounts/${name}`)
  })
  return found.every((path) => directories.has(path))
}

/** What the tree says of its instance, and all of it on disk. Nobody else has come to this dataset yet. */
async function describe(mountpoint: string, { manifest, config }: InstancePlan): Promise<void> {
  const folder = join(mountpoint, 'instance')
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(join(folder, 'config'), { recursive: true, mode: 0o700 })
  writeFileSync(join(folder, 'instance.json'), `${JSON.stringify(manifest, undefined, 2)}\n`, { mode: 0o600 })
  for (const [name, bytes] of Object.entries(config.files))
    writeFileSync(join(folder, 'config', name), bytes, { mode: 0o600 })
  await syncRoot(mountpoint)
}

async function syncRoot(mountpoint: string): Promise<void> {
  const fd = openRoot(mountpoint)
  try {
    await syncFileSystem(fd)
  } finally {
    close(fd)
  }
}
