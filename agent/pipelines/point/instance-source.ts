import assert from 'node:assert/strict'
import { chmodSync, constants, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FleetError } from '../../../shared/errors.ts'
import type { Held, InstanceManifest } from '../../../shared/instance-spec.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import type { Graft } from '../../archive/write-archive.ts'
import type { Watch } from '../../drivers/driver.ts'
import { close, openWithoutLinks } from '../../native/paths.ts'
import type { ImageContent } from '../../points/series-image.ts'
import { type InstancePlan, planInstance } from '../instance/instance-plan.ts'
import { dropTrees, InstanceTrees } from '../instance/instance-trees.ts'
import { existing, type Standstill, standStill } from '../instance/standstill.ts'
import type { PipelineTools } from '../pipeline.ts'
import type { PointSource, TreeContent } from './point-source.ts'

type Spec = Extract<SpecOf<'point.create'>['source'], { readonly kind: 'instance' }>

/**
 * An instance with what is mounted in it, as one tree (shared/instance-spec.ts). It is held only while snapshots are taken of what lies
 * in this agent's pools; where parts lie elsewhere, until those are read.
 */
export class InstanceSource implements PointSource {
  readonly #spec: Spec
  readonly #jobId: string
  readonly #tools: PipelineTools
  #holdAs: Spec['hold']
  #plan: InstancePlan | undefined
  #trees: InstanceTrees | undefined
  #standstill: Standstill | undefined
  #root: { readonly path: string; readonly fd: number } | undefined
  #grafts: readonly Graft[] = []
  readonly asksForBase = false
  readonly whole = undefined
  held: Held | undefined
  atomic = false

  constructor(spec: Spec, jobId: string, tools: PipelineTools) {
    this.#spec = spec
    this.#holdAs = spec.hold
    this.#jobId = jobId
    this.#tools = tools
  }

  get content(): TreeContent {
    if (this.#root === undefined) throw new FleetError('internal', 'the source is not open')
    return {
      kind: 'tree',
      rootFd: this.#root.fd,
      grafts: this.#grafts,
      stamps: undefined,
      live: undefined,
      older: undefined,
    }
  }

  async open(watch: Watch): Promise<void> {
    await this.drop()
    const { place, hold } = this.#spec
    const instances = this.#tools.instances(place.type)
    const instance = await existing(instances, place.instance, watch.signal)
    this.#plan = await planInstance({ instances, instance, hold }, this.#tools, watch.signal)
    const taken = this.#takenOf(this.#plan)
    if (taken !== undefined || this.#plan.parts.length === 0) this.#holdAs = 'none'
    this.#trees = new InstanceTrees(this.#plan.parts, this.#jobId, this.#tools, taken)
    this.#root = makeRoot(this.#tools.points.scratch, this.#plan)
    if (!this.#trees.hasLiving) await this.#hold(watch, async () => undefined)
  }

  async read<Result>(watch: Watch, act: () => Promise<Result>): Promise<Result> {
    assert(this.#trees)
    return this.#trees.hasLiving ? this.#hold(watch, act) : act()
  }

  async settled(): Promise<undefined> {}

  async changes(): Promise<undefined> {}

  async image(): Promise<ImageContent> {
    assert(this.#plan)
    const { manifest, config, instance } = this.#plan
    const files = Object.entries(config.files).map(([name, bytes]) => [`config/${name}`, bytes])
    const { exportImage } = this.#tools.instances(this.#spec.place.type)
    return {
      files: { [MANIFEST]: manifestText(manifest), ...Object.fromEntries(files) },
      ...(exportImage === undefined ? {} : { exported: (signal) => exportImage(instance.id, signal) }),
    }
  }

  async drop(): Promise<void> {
    this.close()
    // An earlier run of this job may have been killed while it held it.
    await this.#standstill?.end()
    await this.#tools.stopped.startAgain(this.#jobId)
    await dropTrees(this.#jobId, this.#tools)
  }

  keep(): Promise<void> {
    return this.drop()
  }

  close(): void {
    this.#trees?.close()
    this.#trees = undefined
    this.#grafts = []
    if (this.#root === undefined) return
    close(this.#root.fd)
    rmSync(this.#root.path, { recursive: true, force: true })
    this.#root = undefined
  }

  /** Snapshots that somebody has taken already; undefined where not all of it lies in them. */
  #takenOf({ parts }: InstancePlan): ReadonlyMap<string, string> | undefined {
    const { snapshots } = this.#spec
    if (snapshots === undefined) return undefined
    const taken = new Map(snapshots.map(({ dataset, snapshot }) => [dataset, snapshot]))
    const isCovered = parts.every(({ places }) => places?.every(({ dataset }) => taken.has(dataset)) === true)
    return isCovered ? taken : undefined
  }

  /** @param act what is done while it stands still, behind the snapshots */
  async #hold<Result>(watch: Watch, act: () => Promise<Result>): Promise<Result> {
    assert(this.#plan && this.#trees)
    const { instance } = this.#plan
    const [trees, { place }, hold] = [this.#trees, this.#spec, this.#holdAs]
    await trees.prepare()
    this.#standstill = await standStill({
      instances: this.#tools.instances(place.type),
      stopped: this.#tools.stopped,
      turns: this.#tools.turns,
      jobId: this.#jobId,
      id: instance.id,
      hold,
      maxMs: this.#tools.freezeMs,
      signal: watch.signal,
    })
    try {
      await trees.take(watch)
      if (trees.hasLiving) this.#grafts = trees.open()
      const result = await act()
      if (trees.hasLiving) trees.close() // an engine mounts the same layers when it starts
      const { intact, held } = await this.#standstill.end()
      this.held = held
      this.atomic = intact || trees.isOneInstant || this.#plan.parts.length === 0
      if (!trees.hasLiving) this.#grafts = trees.open()
      return result
    } catch (thrown) {
      if (trees.hasLiving) trees.close()
      await this.#standstill.end().catch(() => undefined) // `drop` tries again; why it failed matters more
      throw thrown
    }
  }
}

const MANIFEST = 'instance.json'

function manifestText(manifest: InstanceManifest): Buffer {
  return Buffer.from(`${JSON.stringify(manifest, undefined, 2)}\n`)
}

/** What is no directory of the instance, and an empty directory in the place of each that is. */
function makeRoot(scratch: string, { manifest, config, parts }: InstancePlan): { path: string; fd: number } {
  const path = mkdtempSync(join(scratch, 'instance-'))
  // Users of a container that is not privileged pass through to its root.
  chmodSync(path, 0o755)
  for (const name of ['mounts', 'instance/config', ...parts.map(({ directory }) => directory)])
    mkdirSync(join(path, name), { recursive: true })
  chmodSync(join(path, 'mounts'), 0o755)
  chmodSync(join(path, 'instance'), 0o700)
  writeFileSync(join(path, 'instance', MANIFEST), manifestText(manifest), { mode: 0o600 })
  for (const [name, bytes] of Object.entries(config.files))
    writeFileSync(join(path, 'instance/config', name), bytes, { mode: 0o600 })
  return { path, fd: openWithoutLinks(path, constants.O_RDONLY | constants.O_DIRECTORY) }
}
