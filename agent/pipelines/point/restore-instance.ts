import assert from 'node:assert/strict'
import { mkdtempSync, openSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { type InstanceDestination, InstanceMade } from '../../../shared/instance-spec.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import { PointRestored } from '../../../shared/point-spec.ts'
import { readSmallFile } from '../../instances/small-file.ts'
import { libc } from '../../native/libc.ts'
import { close } from '../../native/paths.ts'
import { checked } from '../../native/system-error.ts'
import { writeNote } from '../../native/xattrs.ts'
import {
  type KeptInstance,
  MANIFEST_PATH,
  MAX_MANIFEST_BYTES,
  parseManifest,
  readKept,
} from '../instance/kept-instance.ts'
import { InstancePlacement, type Ours } from '../instance/placement.ts'
import type { Pipeline, PipelineTools, StepContext, UndoContext } from '../pipeline.ts'
import { extractParts, ONTO_HOST, type OpenPoint } from './extraction.ts'
import { NewDatasetRestore, openRoot } from './restore-new.ts'
import { STARTED_NOTE, UpdatedDatasetRestore } from './restore-update.ts'
import { named, tolerating } from './steps.ts'

type Destination = z.infer<typeof InstanceDestination>
type Spec = SpecOf<'point.restore'>

/** What is noted once the tree is there, then again when the instance is, then when it stands at its name. */
const Noted = PointRestored.extend({ instance: InstanceMade.optional() })
const Receipt = Noted.extend({ done: z.literal(true).optional() })

/**
 * Roots hold set-user-id programs by right, and these may be anybody's: nobody but root passes to them. A container whose own root
 * is another user of the host must; its programs are of such users too.
 */
const ROOT_MODE = 0o700
const PASSED_MODE = 0o711
const MAPS_USERS = /^\s*lxc\.idmap\s*=/m

/** How the dataset comes to hold the tree of the point. */
export type TreeRestore = Pick<
  NewDatasetRestore,
  'look' | 'stage' | 'unstage' | 'settle' | 'result' | 'close' | 'point'
>

/**
 * A point of an instance, and the instance: the dataset → the instance under a name of this job's → what it replaces aside → the
 * instance at its name → started → noted, which commits → what was replaced destroyed. Every step before the note is taken back.
 */
export const restoreInstance: Pipeline<'point.restore'> = (spec, jobId, tools) => {
  const { destination } = spec
  assert(destination.kind === 'instance')
  const restore = new InstanceRestore(spec, { destination, jobId }, tools)
  return {
    steps: [
      // All is undone here, as an earlier run may have come further than this one.
      { ...named('look', (context) => restore.look(context), 'restore'), undo: (context) => restore.undo(context) },
      named('stage', (context) => restore.stage(context), 'restore'),
      named('make', (context) => restore.make(context), 'restore'),
      named('place', (context) => restore.place(context), 'restore'),
      named('start', (context) => restore.start(context), 'restore'),
      { ...named('commit', (context) => restore.commit(context), 'restore'), commits: true },
      named('settle', () => restore.settle(), 'restore'),
    ],
    committed: () => restore.isCommitted,
    result: () => restore.result(),
    close: () => restore.close(),
  }
}

class InstanceRestore {
  readonly #spec: Spec
  readonly #type: Destination['type']
  readonly #isStarted: boolean
  readonly #tools: PipelineTools
  readonly #tree: TreeRestore
  readonly #placement: InstancePlacement
  #made: InstanceMade | undefined
  #at: string | undefined
  isCommitted = false

  constructor(spec: Spec, own: { readonly destination: Destination; readonly jobId: string }, tools: PipelineTools) {
    const { place, update, type, start } = own.destination
    this.#spec = spec
    this.#type = type
    this.#isStarted = start
    this.#tools = tools
    this.#tree =
      update === null
        ? new NewDatasetRestore(spec, place, tools)
        : new UpdatedDatasetRestore(spec, { place, from: update }, tools)
    const request = { ...own.destination, jobId: own.jobId, trusted: false }
    this.#placement = new InstancePlacement(tools.instances(type), request, tools)
  }

  async look(context: StepContext): Promise<void> {
    const noted = context.memory.staged()
    const receipt = noted ? Receipt.parse(JSON.parse(noted)) : undefined
    this.#made = receipt?.instance
    this.isCommitted = receipt?.done === true
    await this.#tree.look(context)
    if (this.isCommitted) return
    if (this.#spec.paths.length > 0)
      throw new FleetError('invalid', 'an instance is made of a whole point', { field: 'paths' })
    await this.#placement.check(this.#ours, context.signal)
    if (receipt === undefined) await this.#requireType(context)
  }

  async stage(context: StepContext): Promise<void> {
    if (!this.isCommitted) await this.#tree.stage(context)
  }

  async make({ memory, signal }: StepContext): Promise<void> {
    if (this.#made !== undefined) return
    const tree = this.#tree.result()
    assert(tree.made)
    this.#made = await this.#placement.make(tree.made, this.#readKept(tree.made.mountpoint), signal)
    await memory.stage(JSON.stringify({ ...tree, instance: this.#made } satisfies z.infer<typeof Noted>))
  }

  async place({ signal }: StepContext): Promise<void> {
    if (!this.isCommitted) this.#at = await this.#placement.place(this.#mine, signal)
  }

  async start({ signal }: StepContext): Promise<void> {
    if (this.isCommitted || !this.#isStarted) return
    const fd = openRoot(this.#mine.mountpoint)
    try {
      writeNote(fd, STARTED_NOTE, 'true')
    } finally {
      close(fd)
    }
    await this.#placement.begin(signal)
  }

  async commit({ memory }: StepContext): Promise<void> {
    if (this.isCommitted) return
    assert(this.#made && this.#at !== undefined)
    this.#made = { ...this.#made, instance: this.#at }
    const receipt = { ...this.#tree.result(), instance: this.#made, done: true } satisfies z.infer<typeof Receipt>
    await memory.stage(JSON.stringify(receipt))
    this.isCommitted = true
  }

  async undo(context: UndoContext): Promise<void> {
    if (this.isCommitted) return
    try {
      await this.#placement.takeBack(this.#ours)
    } finally {
      this.#made = undefined
      await this.#tree.unstage(context)
    }
  }

  async settle(): Promise<void> {
    await this.#tree.settle()
    await tolerating(this.#placement.settle())
  }

  result(): PointRestored {
    assert(this.#made)
    return { ...this.#tree.result(), instance: this.#made }
  }

  close(): Promise<void> {
    return this.#tree.close()
  }

  get #ours(): Ours | undefined {
    return this.#made === undefined ? undefined : this.#mine
  }

  get #mine(): Ours {
    const { made } = this.#tree.result()
    assert(made && this.#made)
    return { instance: this.#made.instance, mountpoint: made.mountpoint }
  }

  /** Before anything is read in. */
  async #requireType(context: StepContext): Promise<void> {
    const { point } = this.#tree
    assert(point)
    const { type } = await manifestOf(point, this.#tools.points.scratch, context)
    if (type !== this.#type)
      throw new FleetError('refused', `the point is of an instance of type '${type}', not '${this.#type}'`)
  }

  #readKept(mountpoint: string): KeptInstance {
    const fd = openRoot(mountpoint)
    try {
      const kept = readKept({ fd, mountpoint })
      const passes = MAPS_USERS.test(kept.config.files.config?.toString() ?? '')
      checked('fchmod', libc().fchmod(fd, passes ? PASSED_MODE : ROOT_MODE))
      return kept
    } finally {
      close(fd)
    }
  }
}

/** @throws refused for a point of something else */
async function manifestOf(point: OpenPoint, scratch: string, context: StepContext) {
  const found = await point.chain.find(MANIFEST_PATH, context.signal)
  const { type, size } = found?.member ?? { type: 'none', size: 0 }
  if ((type !== 'file' && type !== 'hardlink') || size > MAX_MANIFEST_BYTES)
    throw new FleetError('refused', 'the point is of no instance')
  const folder = mkdtempSync(join(scratch, 'manifest-'))
  const rootFd = openSync(folder, 'r')
  try {
    const unheard = { signal: context.signal, progress: () => undefined }
    await extractParts(point, { parts: [{ path: MANIFEST_PATH, rootFd }], policy: ONTO_HOST }, unheard)
    return parseManifest(readSmallFile(join(folder, 'instance.json'), MAX_MANIFEST_BYTES))
  } finally {
    close(rootFd)
    rmSync(folder, { recursive: true, force: true })
  }
}
