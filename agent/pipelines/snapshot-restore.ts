import assert from 'node:assert/strict'
import { constants, fsync } from 'node:fs'
import { promisify } from 'node:util'
import { FleetError } from '../../shared/errors.ts'
import type { DatasetPlace, RestoreSnapshotSpec } from '../../shared/job-spec.ts'
import { DirectoryReader } from '../native/directory-entries.ts'
import { cString } from '../native/libc.ts'
import { close, openBeneath, removeDirectory, removeFile } from '../native/paths.ts'
import { Status } from '../native/status.ts'
import { asFleetError } from '../native/system-error.ts'
import type { ContentMode } from '../tree/file-content.ts'
import { runTreeTask, type TreeWatch } from '../tree/tree-task.ts'
import type { JobMemory, Pipeline, PipelineTools, Step, StepContext } from './pipeline.ts'
import { openInDataset, openOnHost, type RestoreDestination } from './restore/destination.ts'
import { encodeReceipt, identityOf, NOTHING_STAGED, parseReceipt, type Receipt } from './restore/receipt.ts'
import { assertReplaceable, replace } from './restore/replace.ts'
import { openSource, type RestoreSource } from './restore/source.ts'
import { stage } from './restore/stage.ts'

const flush = promisify(fsync)
const unwatched: TreeWatch = { signal: new AbortController().signal, progress: () => undefined }

/**
 * A file or tree of a snapshot, staged beside its destination and put there by one rename. A repeat that finds the rename done
 * only clears up: what a user wrote to the restored file since then stays.
 */
export const restoreSnapshot: Pipeline<'snapshot.restore'> = (spec, jobId, tools) => {
  const restore = new Restore(spec, jobId, tools)
  return {
    steps: [
      named('look', (context) => restore.look(context)),
      { ...named('stage', (context) => restore.stage(context)), undo: ({ memory }) => restore.unstage(memory) },
      { ...named('commit', () => restore.commit()), commits: true },
      named('settle', () => restore.settle()),
    ],
    committed: () => restore.isCommitted,
    result: () => restore.result(),
    close: async () => restore.close(),
  }
}

function named(name: string, act: (context: StepContext) => Promise<void>): Step {
  return {
    name,
    async run(context) {
      try {
        await act(context)
      } catch (thrown) {
        throw asFleetError(thrown, 'restore')
      }
    },
  }
}

/**
 * One restore on its way: looked → staged → committed → settled, or, when the journal's receipt names an object that no longer
 * stands at the staged name, looked → committed.
 */
class Restore {
  readonly #spec: RestoreSnapshotSpec
  readonly #tools: PipelineTools
  readonly #stagedName: Buffer
  #source: RestoreSource | undefined
  #destination: RestoreDestination | undefined
  #receipt: Receipt | undefined
  isCommitted = false

  constructor(spec: RestoreSnapshotSpec, jobId: string, tools: PipelineTools) {
    this.#spec = spec
    this.#tools = tools
    this.#stagedName = cString(`.holdfast-${jobId}.partial`)
  }

  async look({ memory }: StepContext): Promise<void> {
    this.close()
    this.#destination = await this.#openDestination()
    this.#receipt = parseReceipt(memory.staged())
    const { parentFd } = this.#destination
    const staged = new Status().readName(parentFd, this.#stagedName)
    const isStaged =
      this.#receipt !== undefined && staged !== undefined && identityOf(staged) === this.#receipt.identity
    this.isCommitted = this.#receipt !== undefined && !isStaged
    if (this.isCommitted) return
    const { overwrite } = this.#spec
    assertReplaceable({ destination: this.#destination, overwrite, isEmpty: () => this.#isDestinationEmpty() })
    this.#source = openSource(await this.#rootOf(this.#spec.snapshot), this.#spec.sourcePath)
  }

  async stage({ memory, signal, progress }: StepContext): Promise<void> {
    if (this.#receipt !== undefined) return
    assert(this.#source && this.#destination)
    const { parentFd } = this.#destination
    await this.#removeStaged(unwatched) // of a run that ended before it noted anything
    const mode = this.#contentMode()
    const request = { source: this.#source, parentFd, stagedName: this.#stagedName, mode, subject: 'restore' }
    const receipt = await stage(request, { signal, progress })
    await memory.stage(encodeReceipt(receipt))
    this.#receipt = receipt
  }

  /** The receipt goes first: without its object at the staged name it would read as "renamed". */
  async unstage(memory: JobMemory): Promise<void> {
    if (this.#destination === undefined || this.isCommitted) return
    if (parseReceipt(memory.staged()) !== undefined) await memory.stage(NOTHING_STAGED)
    this.#receipt = undefined
    await this.#removeStaged(unwatched)
  }

  async commit(): Promise<void> {
    if (this.isCommitted) return
    assert(this.#destination && this.#receipt)
    const { overwrite } = this.#spec
    const stagedType = this.#receipt.type
    replace({ destination: this.#destination, stagedName: this.#stagedName, stagedType, overwrite })
    this.isCommitted = true
  }

  async settle(): Promise<void> {
    assert(this.#destination && this.#receipt)
    await flush(this.#destination.parentFd)
    if (this.#spec.overwrite === true || this.#receipt.type === 'directory') return this.#removeStaged(unwatched)
    // Only an empty directory may have been displaced; one that filled up in that instant is kept, beside the destination.
    if (this.#stagedStatus()?.kind === 'directory') removeDirectory(this.#destination.parentFd, this.#stagedName)
  }

  result(): Omit<Receipt, 'identity'> {
    assert(this.#receipt)
    const { type, inode, fileSize, files, bytes, cow } = this.#receipt
    return { type, inode, fileSize, files, bytes, cow }
  }

  close(): void {
    if (this.#source) close(this.#source.fd)
    if (this.#destination) close(this.#destination.parentFd)
    this.#source = undefined
    this.#destination = undefined
  }

  /** Blocks are shared only when neither pool promises copies; a restore to the host is one. */
  #contentMode(): ContentMode {
    const { snapshot, destination } = this.#spec
    if (destination.kind === 'host') return 'copy'
    const pools = [snapshot.pool, destination.place.pool]
    return pools.every((pool) => this.#tools.driver(pool).capabilities.cow) ? 'share' : 'copy'
  }

  async #openDestination(): Promise<RestoreDestination> {
    const { destination } = this.#spec
    if (destination.kind === 'host') return openOnHost(destination.path, this.#tools)
    return openInDataset(await this.#rootOf(destination.place), destination.path)
  }

  async #rootOf(place: DatasetPlace): Promise<string> {
    const driver = this.#tools.driver(place.pool)
    if (driver.name === 'sim') throw new FleetError('refused', 'simulated pools hold no files')
    const found = await driver.find(place.dataset)
    if (!found) throw new FleetError('not_found', `dataset ${place.dataset} is not on this host`)
    return found.mountpoint
  }

  #isDestinationEmpty(): boolean {
    assert(this.#destination)
    const { parentFd, name } = this.#destination
    const fd = openBeneath(parentFd, name.subarray(0, -1), constants.O_RDONLY | constants.O_DIRECTORY)
    try {
      let isEmpty = true
      new DirectoryReader().forEach(fd, () => {
        isEmpty = false
      })
      return isEmpty
    } finally {
      close(fd)
    }
  }

  #stagedStatus(): Status | undefined {
    assert(this.#destination)
    return new Status().readName(this.#destination.parentFd, this.#stagedName)
  }

  async #removeStaged(watch: TreeWatch): Promise<void> {
    assert(this.#destination)
    const { parentFd } = this.#destination
    const kind = this.#stagedStatus()?.kind
    if (kind === undefined) return
    if (kind !== 'directory') removeFile(parentFd, this.#stagedName)
    else await runTreeTask({ subject: 'restore', kind: 'remove', parentFd, name: this.#stagedName }, watch)
  }
}
