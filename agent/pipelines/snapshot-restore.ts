import assert from 'node:assert/strict'
import type { RestoreSnapshotSpec } from '../../shared/job-spec.ts'
import { close } from '../native/paths.ts'
import { asFleetError } from '../native/system-error.ts'
import type { ContentMode } from '../tree/file-content.ts'
import type { JobMemory, Pipeline, PipelineTools, Step, StepContext } from './pipeline.ts'
import { openDestination, rootOf } from './restore/destination.ts'
import { Placement } from './restore/placement.ts'
import type { Receipt } from './restore/receipt.ts'
import { openSource, type RestoreSource } from './restore/source.ts'
import { stage } from './restore/stage.ts'

/**
 * A file or tree of a snapshot, staged beside its destination and put there by one rename. A repeat that finds the rename done
 * only clears up: what a user wrote to the restored file since then stays.
 */
export const restoreSnapshot: Pipeline<'snapshot.restore'> = (spec, jobId, tools) => {
  const restore = new Restore(spec, jobId, tools)
  return {
    steps: [
      // Undone here, as an earlier run may have come further than this one.
      { ...named('look', (context) => restore.look(context)), undo: ({ memory }) => restore.unstage(memory) },
      named('stage', (context) => restore.stage(context)),
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
  readonly #jobId: string
  #source: RestoreSource | undefined
  #placement: Placement | undefined

  constructor(spec: RestoreSnapshotSpec, jobId: string, tools: PipelineTools) {
    this.#spec = spec
    this.#tools = tools
    this.#jobId = jobId
  }

  get isCommitted(): boolean {
    return this.#placement?.isCommitted === true
  }

  async look({ memory }: StepContext): Promise<void> {
    this.close()
    const { destination, overwrite, snapshot, sourcePath } = this.#spec
    this.#placement = new Placement(await openDestination(destination, this.#tools), this.#jobId, overwrite)
    if (!this.#placement.look(memory)) this.#source = openSource(await rootOf(snapshot, this.#tools), sourcePath)
  }

  async stage({ memory, signal, progress }: StepContext): Promise<void> {
    assert(this.#placement)
    await this.#placement.stage(memory, async ({ parentFd, stagedName }) => {
      assert(this.#source)
      const mode = this.#contentMode()
      return stage({ source: this.#source, parentFd, stagedName, mode, subject: 'restore' }, { signal, progress })
    })
  }

  async unstage(memory: JobMemory): Promise<void> {
    await this.#placement?.unstage(memory)
  }

  async commit(): Promise<void> {
    assert(this.#placement)
    this.#placement.commit()
  }

  async settle(): Promise<void> {
    assert(this.#placement)
    await this.#placement.settle()
  }

  result(): Omit<Receipt, 'identity'> {
    assert(this.#placement)
    const { type, inode, fileSize, files, bytes, cow } = this.#placement.receipt
    return { type, inode, fileSize, files, bytes, cow }
  }

  close(): void {
    if (this.#source) close(this.#source.fd)
    this.#placement?.close()
    this.#source = undefined
    this.#placement = undefined
  }

  /** Blocks are shared only when neither pool promises copies; a restore to the host is one. */
  #contentMode(): ContentMode {
    const { snapshot, destination } = this.#spec
    if (destination.kind === 'host') return 'copy'
    const pools = [snapshot.pool, destination.place.pool]
    return pools.every((pool) => this.#tools.driver(pool).capabilities.cow) ? 'share' : 'copy'
  }
}
