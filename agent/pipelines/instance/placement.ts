import { realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { FleetError } from '../../../shared/errors.ts'
import type { InstanceMade } from '../../../shared/instance-spec.ts'
import type { CreateRequest, Instance, Instances, MadeInstances } from '../../instances/instances.ts'
import { madeHere } from '../../instances/made-here.ts'
import type { PipelineTools } from '../pipeline.ts'
import { isForbidden } from '../restore/destination.ts'
import { type KeptInstance, ROOTFS } from './kept-instance.ts'
import { start } from './start-stop.ts'

/** A technology that is gone is not waited for longer when work on it is taken back, or cleared up behind. */
const UNDO_MS = 120_000
const CLEAR_MS = 3_600_000

export interface PlacementRequest extends Pick<CreateRequest, 'name' | 'identity' | 'trusted'> {
  readonly jobId: string
  /** A stopped one of this name that goes. */
  readonly replace: string | null
}

/**
 * An instance on its way to its name: made under another one → (the one that it replaces moved aside) → renamed → started. All of
 * that is taken back until the job has noted that it is done; then what was moved aside goes.
 *
 * What stands at its name is ours when it is the container that was made (engines), or is on our tree and no more under the name that it was
 * made under (LXC): what is replaced may lie on that very tree.
 */
export class InstancePlacement {
  readonly #instances: MadeInstances
  readonly #request: PlacementRequest
  readonly #tools: PipelineTools
  readonly #under: string
  readonly #aside: string

  /** @throws refused where none are made */
  constructor(instances: Instances, request: PlacementRequest, tools: PipelineTools) {
    this.#instances = madeHere(instances)
    this.#request = request
    this.#tools = tools
    this.#under = `holdfast-${request.jobId}`
    this.#aside = `holdfast-${request.jobId}-old`
  }

  /**
   * Refuses early what could not be placed.
   * @param ours what an earlier run made, if one got that far
   * @throws exists; conflict: what is to be replaced runs
   */
  async check(ours: Ours | undefined, signal: AbortSignal): Promise<void> {
    await this.#replaced(ours, signal)
  }

  /** On the tree that is there. What an earlier run had not noted is made anew. */
  async make(mountpoint: string, kept: KeptInstance, signal: AbortSignal): Promise<InstanceMade> {
    const { name, identity, trusted } = this.#request
    const { config, mounts, leftOut } = kept
    await this.#instances.unmake(this.#under, signal)
    const rootfs = join(mountpoint, ROOTFS)
    const request = { name, under: this.#under, config, rootfs, identity, trusted, mounts }
    const { instance, dropped } = await this.#instances.create(request, signal)
    return { instance: instance.id, dropped: [...new Set([...dropped, ...leftOut])] }
  }

  /** @returns what its agent calls it from now on. @throws exists, conflict */
  async place(ours: Ours, signal: AbortSignal): Promise<string> {
    const { name, replace } = this.#request
    const standing = await this.#instances.find(name, signal)
    if (standing !== undefined && (await this.#isOurs(standing, ours, signal))) return standing.id
    const replaced = await this.#replaced(ours, signal)
    // Said again behind a kill, it ends what it had begun.
    const isAside = replace !== null && (await this.#instances.find(this.#aside, signal)) !== undefined
    if (replaced !== undefined || isAside) await this.#instances.rename(replaced?.id ?? name, this.#aside, signal)
    return (await this.#instances.rename(this.#under, name, signal)).id
  }

  async begin(signal: AbortSignal): Promise<void> {
    await start({ type: this.#instances.type, instance: this.#request.name }, this.#tools, signal)
  }

  /** Whatever of it is there. What was moved aside has its name again. */
  async takeBack(ours: Ours | undefined): Promise<void> {
    const { name, replace } = this.#request
    const signal = AbortSignal.timeout(UNDO_MS)
    const standing = await this.#instances.find(name, signal)
    if (standing !== undefined && (await this.#isOurs(standing, ours, signal))) {
      if (standing.state !== 'STOPPED') await this.#instances.stop(name, { graceMs: 0, signal })
      await this.#instances.unmake(name, signal)
    }
    if (replace !== null) await this.#bringBack(signal)
    await this.#instances.unmake(this.#under, signal)
  }

  /** Ours stands at its name for good. A root in a pool stays: it is part of a dataset that others know of. */
  async settle(): Promise<void> {
    if (this.#request.replace === null) return
    const signal = AbortSignal.timeout(CLEAR_MS)
    const old = await this.#instances.find(this.#aside, signal)
    if (old === undefined) return
    const isKept = old.rootfs !== undefined && (await this.#isKept(old.rootfs))
    await (isKept ? this.#instances.unmake(this.#aside, signal) : this.#instances.destroy(old.id, signal))
  }

  /** Whatever leads to it, and however operators wrote the names of the pools. */
  async #isKept(rootfs: string): Promise<boolean> {
    const real = (path: string) => realpath(path).catch(() => path)
    return isForbidden(await real(rootfs), await Promise.all(this.#tools.forbiddenPaths.map(real)))
  }

  /** A kill may have come in the middle of a rename, so it is said again even when nothing is aside. */
  async #bringBack(signal: AbortSignal): Promise<void> {
    const standing = await this.#instances.find(this.#request.name, signal)
    const aside = await this.#instances.find(this.#aside, signal)
    if (standing === undefined && aside === undefined) return
    await this.#instances.rename(this.#aside, this.#request.name, signal)
  }

  /** @returns what stands at the name and goes. @throws exists, conflict */
  async #replaced(ours: Ours | undefined, signal: AbortSignal): Promise<Instance | undefined> {
    const { name, replace } = this.#request
    const standing = await this.#instances.find(name, signal)
    if (standing === undefined || (await this.#isOurs(standing, ours, signal))) return undefined
    if (replace === null || (standing.id !== replace && standing.name !== replace))
      throw new FleetError('exists', `an instance '${name}' is on this host already`)
    if (standing.state !== 'STOPPED')
      throw new FleetError('conflict', `the instance '${name}' is to be replaced, and is not stopped`)
    return standing
  }

  async #isOurs(found: Instance, ours: Ours | undefined, signal: AbortSignal): Promise<boolean> {
    if (ours === undefined) return false
    if (found.type !== 'lxc') return found.id === ours.instance
    if (found.rootfs !== join(ours.mountpoint, ROOTFS)) return false
    return (await this.#instances.find(this.#under, signal)) === undefined
  }
}

/** What was made, as an earlier run noted it, and the tree that it is on. */
export interface Ours {
  readonly instance: string
  readonly mountpoint: string
}
