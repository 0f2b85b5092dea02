import assert from 'node:assert/strict'
import { constants, fsync } from 'node:fs'
import { promisify } from 'node:util'
import { DirectoryReader } from '../../native/directory-entries.ts'
import { cString } from '../../native/libc.ts'
import { close, openBeneath, removeDirectory, removeFile } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import { runTreeTask } from '../../tree/tree-task.ts'
import type { JobMemory } from '../pipeline.ts'
import type { RestoreDestination } from './destination.ts'
import { encodeReceipt, identityOf, NOTHING_STAGED, parseReceipt, type Receipt } from './receipt.ts'
import { assertReplaceable, replace } from './replace.ts'

const flush = promisify(fsync)
const unwatched = { signal: new AbortController().signal, progress: () => undefined }

export interface StagedPlace {
  /** Open for reading. */
  readonly parentFd: number
  /** NUL-terminated; free. */
  readonly stagedName: Buffer
}

/**
 * How something comes to stand at a destination: it is staged beside it, noted in the journal, and put there by one rename. When
 * the journal's receipt names an object that no longer stands at the staged name, the rename was done by an earlier run.
 */
export class Placement {
  readonly #destination: RestoreDestination
  readonly #overwrite: boolean | undefined
  readonly #stagedName: Buffer
  #receipt: Receipt | undefined
  isCommitted = false

  /** @param destination is this placement's from now on */
  constructor(destination: RestoreDestination, jobId: string, overwrite: boolean | undefined) {
    this.#destination = destination
    this.#overwrite = overwrite
    this.#stagedName = cString(`.holdfast-${jobId}.partial`)
  }

  /** @returns whether an earlier run committed. @throws exists, conflict, refused where nothing may be put there */
  look(memory: JobMemory): boolean {
    this.#receipt = parseReceipt(memory.staged())
    const staged = this.#stagedStatus()
    const isStaged =
      this.#receipt !== undefined && staged !== undefined && identityOf(staged) === this.#receipt.identity
    this.isCommitted = this.#receipt !== undefined && !isStaged
    if (this.isCommitted) return true
    const destination = this.#destination
    assertReplaceable({ destination, overwrite: this.#overwrite, isEmpty: () => this.#isDestinationEmpty() })
    return false
  }

  /** @param make makes a whole, durable object at the staged name; not called where an earlier run came so far */
  async stage(memory: JobMemory, make: (place: StagedPlace) => Promise<Receipt>): Promise<void> {
    if (this.#receipt !== undefined) return
    await this.#removeStaged() // of a run that ended before it noted anything
    const receipt = await make({ parentFd: this.#destination.parentFd, stagedName: this.#stagedName })
    await memory.stage(encodeReceipt(receipt))
    this.#receipt = receipt
  }

  /** The receipt goes first: without its object at the staged name it would read as "renamed". */
  async unstage(memory: JobMemory): Promise<void> {
    if (this.isCommitted) return
    if (parseReceipt(memory.staged()) !== undefined) await memory.stage(NOTHING_STAGED)
    this.#receipt = undefined
    await this.#removeStaged()
  }

  commit(): void {
    if (this.isCommitted) return
    const stagedType = this.receipt.type
    replace({
      destination: this.#destination,
      stagedName: this.#stagedName,
      stagedType,
      overwrite: this.#overwrite,
    })
    this.isCommitted = true
  }

  /** Removes what was displaced. */
  async settle(): Promise<void> {
    const { parentFd } = this.#destination
    await flush(parentFd)
    if (this.#overwrite === true || this.receipt.type === 'directory') return this.#removeStaged()
    // Only an empty directory may have been displaced; one that filled up in that instant is kept, beside the destination.
    if (this.#stagedStatus()?.kind === 'directory') removeDirectory(parentFd, this.#stagedName)
  }

  get receipt(): Receipt {
    assert(this.#receipt)
    return this.#receipt
  }

  get parentFd(): number {
    return this.#destination.parentFd
  }

  close(): void {
    close(this.#destination.parentFd)
  }

  #isDestinationEmpty(): boolean {
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
    return new Status().readName(this.#destination.parentFd, this.#stagedName)
  }

  async #removeStaged(): Promise<void> {
    const { parentFd } = this.#destination
    const kind = this.#stagedStatus()?.kind
    if (kind === undefined) return
    if (kind !== 'directory') removeFile(parentFd, this.#stagedName)
    else await runTreeTask({ subject: 'restore', kind: 'remove', parentFd, name: this.#stagedName }, unwatched)
  }
}
