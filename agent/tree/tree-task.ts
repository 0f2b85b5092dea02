import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { FleetError } from '../../shared/errors.ts'
import type { Progress } from '../../shared/job-event.ts'
import { errorOf } from '../threads/thread-failure.ts'
import type { ThreadFailure } from '../threads/thread-group.ts'
import { Counters } from './counters.ts'
import type { ContentMode } from './file-content.ts'
import type { ListedChange } from './listing-diff.ts'

/** `subject` begins the message of a failure, for clients; names are NUL-terminated. */
export type TreeTask = { readonly subject: string } & (
  | {
      readonly kind: 'clone'
      readonly sourceFd: number
      readonly parentFd: number
      readonly name: Uint8Array
      readonly mode: ContentMode
      /** Where to write what the source's entries were (stamps.ts); the file is empty. */
      readonly stamps?: { readonly fd: number; readonly settledBeforeMs: number }
      /** Nothing else is cloned (clone-tree.ts). */
      readonly only?: readonly ListedChange[]
    }
  /** `unlocks`: what nobody may change goes with the rest. */
  | { readonly kind: 'remove'; readonly parentFd: number; readonly name: Uint8Array; readonly unlocks?: boolean }
  | {
      readonly kind: 'copy'
      readonly sourceFd: number
      readonly targetFd: number
      readonly sizeBytes: number
      readonly allocatedBytes: number
    }
)

export type TreeTaskOutcome = { readonly type: 'done'; readonly cow: boolean } | ThreadFailure

export interface TreeTaskDone {
  /** No data byte was copied. */
  readonly cow: boolean
  /** Entries made or removed, directories among them. */
  readonly files: number
  readonly bytes: number
}

/** Who waits for a task; a task that must finish whatever happens gets a signal that never aborts. */
export interface TreeWatch {
  readonly signal: AbortSignal
  progress(progress: Progress): void
}

const PROGRESS_INTERVAL_MS = 100
const PHASES: Readonly<Record<TreeTask['kind'], string>> = { clone: 'clone', copy: 'copy', remove: 'remove' }

/**
 * Runs one task in a worker thread of its own, which ends with it: an idle agent keeps none. Descriptors in the task must
 * stay open until this settles. Ends within a chunk of the signal's abort (see file-content.ts).
 * @throws FleetError cancelled, no_space and what else asFleetError tells
 */
export async function runTreeTask(task: TreeTask, watch: TreeWatch): Promise<TreeTaskDone> {
  if (watch.signal.aborted) throw new FleetError('cancelled', 'cancelled')
  const counters = new Counters()
  const stop = () => counters.stop()
  watch.signal.addEventListener('abort', stop)
  const worker = new Worker(new URL('./tree-worker.ts', import.meta.url), {
    workerData: { task, memory: counters.memory },
  })
  const timer = setInterval(() => {
    watch.progress({ phase: PHASES[task.kind], files: counters.files, bytes: counters.bytes })
  }, PROGRESS_INTERVAL_MS)
  try {
    // `once` rejects on the worker's 'error' event: a bug there ends the job here.
    const [[outcome]] = (await Promise.all([once(worker, 'message'), once(worker, 'exit')])) as [
      [TreeTaskOutcome],
      unknown,
    ]
    if (outcome.type === 'done') return { cow: outcome.cow, files: counters.files, bytes: counters.bytes }
    throw errorOf(outcome)
  } finally {
    clearInterval(timer)
    watch.signal.removeEventListener('abort', stop)
  }
}
