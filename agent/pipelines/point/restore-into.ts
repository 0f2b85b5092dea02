import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { fsync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { promisify } from 'node:util'
import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { DatasetPlace, SpecOf } from '../../../shared/job-spec.ts'
import type { PointRestored } from '../../../shared/point-spec.ts'
import { cString } from '../../native/libc.ts'
import { close, RENAME_EXCHANGE, rename } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import { requireFit } from '../../points/bounds.ts'
import type { PipelineTools, StepContext, UndoContext } from '../pipeline.ts'
import { requireFiles } from '../require-files.ts'
import { requireUnused } from '../require-unused.ts'
import { NOTHING_STAGED } from '../restore/receipt.ts'
import { extractParts, INTO_DATASET, type OpenPoint, openPoint } from './extraction.ts'
import { openRoot } from './restore-new.ts'

type Spec = SpecOf<'point.restore'>

const Receipt = z.object({
  /** A dataset of ours; what the point held lies there until it is exchanged, and what was there before from then on. */
  scratch: z.string(),
  /** Of the root that was restored: inode and birth. */
  identity: z.string(),
  files: z.number(),
  bytes: z.number(),
  made: z.object({ rootInode: z.number(), mountpoint: z.string() }),
})

const flush = promisify(fsync)
const unwatched = { signal: new AbortController().signal, progress: () => undefined }

/**
 * The whole of a point as the whole of a dataset that is there: restored to a dataset of ours in the same pool, then both exchange
 * their names at once. Whoever has the old root open keeps it open, and sees it emptied: so no container may run in it.
 */
export class IntoDatasetRestore {
  readonly #spec: Spec
  readonly #place: DatasetPlace
  readonly #tools: PipelineTools
  #point: OpenPoint | undefined
  #receipt: z.infer<typeof Receipt> | undefined
  isCommitted = false

  constructor(spec: Spec, place: DatasetPlace, tools: PipelineTools) {
    this.#spec = spec
    this.#place = place
    this.#tools = tools
  }

  async look(context: StepContext): Promise<void> {
    await this.close()
    const noted = context.memory.staged()
    this.#receipt = noted === undefined || noted === NOTHING_STAGED ? undefined : Receipt.parse(JSON.parse(noted))
    const mountpoint = await this.#mountpoint()
    this.isCommitted = this.#receipt !== undefined && identityOf(mountpoint) === this.#receipt.identity
    if (this.isCommitted) return
    const { paths, overwrite } = this.#spec
    if (paths.length > 0) {
      const message = 'only a whole point becomes the whole of a dataset; restore a part to a path in it'
      throw new FleetError('invalid', message, { field: 'paths' })
    }
    if (overwrite !== true && (overwrite === false || readdirSync(mountpoint).length > 0)) {
      throw new FleetError('conflict', 'the dataset is not empty; replacing what it holds needs overwrite: true')
    }
    await this.#requireQuiet(mountpoint, context.signal)
    if (this.#receipt === undefined) this.#point = await openPoint(this.#spec, this.#tools.points, context)
  }

  async stage(context: StepContext): Promise<void> {
    if (this.#receipt !== undefined) return
    assert(this.#point)
    const { pool } = this.#place
    const { own } = this.#tools.points
    const driver = this.#tools.driver(pool)
    const scratch = this.#scratch(context.jobId) ?? randomUUID()
    own.claim({ pool, dataset: scratch, use: { kind: 'job', jobId: context.jobId } })
    await driver.destroy(scratch, unwatched) // half of it, by a run that was killed
    const { mountpoint, rootInode } = await driver.create(scratch, context)
    const rootFd = openRoot(mountpoint)
    try {
      await requireFit(this.#point.chain, { paths: [''], fd: rootFd }, context.signal)
      const request = { parts: [{ path: '', rootFd }], policy: INTO_DATASET }
      const { files, bytes } = await extractParts(this.#point, request, context)
      const made = { rootInode, mountpoint: await this.#mountpoint() }
      const receipt = { scratch, identity: identityOf(mountpoint) ?? '', files, bytes, made }
      await context.memory.stage(JSON.stringify(receipt))
      this.#receipt = receipt
    } finally {
      close(rootFd)
    }
  }

  async unstage({ memory, jobId }: UndoContext): Promise<void> {
    if (this.isCommitted) return
    const scratch = this.#receipt?.scratch ?? this.#scratch(jobId)
    if (this.#receipt !== undefined) await memory.stage(NOTHING_STAGED)
    this.#receipt = undefined
    if (scratch !== undefined) await this.#discard(scratch)
  }

  async commit({ signal }: StepContext): Promise<void> {
    if (this.isCommitted) return
    assert(this.#receipt)
    const { mountpoint } = this.#receipt.made
    await this.#requireQuiet(mountpoint, signal)
    const folderFd = openRoot(dirname(mountpoint))
    try {
      rename(folderFd, cString(this.#receipt.scratch), cString(basename(mountpoint)), RENAME_EXCHANGE)
      this.isCommitted = true
      await flush(folderFd)
    } finally {
      close(folderFd)
    }
  }

  async settle(): Promise<void> {
    assert(this.#receipt)
    await this.#discard(this.#receipt.scratch)
  }

  result(): PointRestored {
    assert(this.#receipt)
    const { files, bytes, made } = this.#receipt
    return { files, bytes, made }
  }

  async close(): Promise<void> {
    await this.#point?.[Symbol.asyncDispose]()
    this.#point = undefined
  }

  /** @throws refused, conflict with `blockers`, unavailable when nobody can tell now */
  async #requireQuiet(mountpoint: string, signal: AbortSignal): Promise<void> {
    refuseMounts(mountpoint)
    await requireUnused({ place: this.#place, by: 'those that are not stopped' }, this.#tools, signal)
  }

  async #mountpoint(): Promise<string> {
    const { pool, dataset } = this.#place
    const driver = this.#tools.driver(pool)
    requireFiles(driver)
    const found = await driver.find(dataset)
    if (found === undefined) throw new FleetError('not_found', `dataset ${dataset} is not on this host`)
    return found.mountpoint
  }

  /** Of a run that was killed before it noted anything. */
  #scratch(jobId: string): string | undefined {
    const owned = this.#tools.points.own.all().find(({ use }) => use.kind === 'job' && use.jobId === jobId)
    return owned?.dataset
  }

  async #discard(scratch: string): Promise<void> {
    await this.#tools.driver(this.#place.pool).destroy(scratch, unwatched)
    this.#tools.points.own.forget(scratch)
  }
}

/** Undefined: nothing is there. */
function identityOf(path: string): string | undefined {
  const folderFd = openRoot(dirname(path))
  try {
    const status = new Status().readName(folderFd, cString(basename(path)))
    return status && `${status.inode}:${status.born}`
  } finally {
    close(folderFd)
  }
}

/** What is mounted in it would move away with it, and be emptied. @throws refused */
function refuseMounts(mountpoint: string): void {
  const root = realpathSync(mountpoint)
  const mountPoints = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
  if (mountPoints.some((mountPoint) => mountPoint === root || mountPoint.startsWith(`${root}/`))) {
    throw new FleetError('refused', 'Something is mounted in the dataset')
  }
}
