import { MessageChannel, Worker } from 'node:worker_threads'
import { FleetError } from '../../shared/errors.ts'
import { newCounts, QueueSender } from '../threads/chunk-queue.ts'
import { errorOf } from '../threads/thread-failure.ts'
import { ThreadGroup } from '../threads/thread-group.ts'
import { Counters } from '../tree/counters.ts'
import type { MakeTask } from './read/make-worker.ts'
import type { ImageReadTask, ReadEnd, ReadMessage, ReadTask, TreeReadTask } from './read/read-worker.ts'
import { newStepRing } from './read/step-ring.ts'
import { letWritersGo } from './write/kept.ts'
import type { ArchiveWatch } from './write-archive.ts'

const PROGRESS_INTERVAL_MS = 100
/** A frame and its members, beside the frame that is decompressed meanwhile: four took 8 MiB more and no less time. */
const QUEUE_DEPTH = 2
const PHASES: Readonly<Record<ReadTask['mode'], string>> = {
  check: 'verify',
  extract: 'extract',
  'extract-stream': 'extract',
  image: 'extract',
  compare: 'compare',
}
type Given = 'queue' | 'counters' | 'steps'
export type TreeReading = Omit<TreeReadTask, Given> & {
  /** So many that a thread of its own is to make the tree: not for one that is brought up to date. */
  readonly isOfManyFiles?: boolean
}

export type Send = (message: ReadMessage, transfer?: readonly ArrayBuffer[]) => Promise<void>

export interface ReadDone {
  readonly files: number
  readonly bytes: number
  readonly damaged: Extract<ReadEnd, { type: 'done' }>['damaged']
  readonly damagedCount: number
  readonly isDoubtful: boolean
}

/**
 * Runs a reading thread and feeds it, and for a large tree another that makes what it reads. All stop when one fails or the watch aborts.
 * @throws FleetError
 */
export async function runReader(
  task: TreeReading | Omit<ImageReadTask, Given>,
  feed: (send: Send, signal: AbortSignal) => Promise<void>,
  watch: ArchiveWatch,
): Promise<ReadDone> {
  if (watch.signal.aborted) throw new FleetError('cancelled', 'cancelled')
  letWritersGo()
  const counters = new Counters()
  const channel = new MessageChannel()
  const counts = newCounts()
  const over = new AbortController()
  const signal = AbortSignal.any([watch.signal, over.signal])
  const stop = () => counters.stop()
  signal.addEventListener('abort', stop)
  const steps = 'rootFd' in task && task.isOfManyFiles === true ? newStepRing() : undefined
  const threads = new ThreadGroup(over)
  const phase = PHASES[task.mode]
  const timer = setInterval(
    () => watch.progress({ phase, files: counters.files, bytes: counters.bytes }),
    PROGRESS_INTERVAL_MS,
  )
  let feeding = Promise.resolve()
  try {
    let end: ReadEnd | undefined
    const worker = new Worker(new URL('./read/read-worker.ts', import.meta.url), {
      // as: a tree's task has its steps, an image's none
      workerData: { ...task, steps, queue: { port: channel.port2, counts }, counters: counters.memory } as ReadTask,
      transferList: [channel.port2],
    })
    threads.add(worker).on('message', (message: ReadEnd) => {
      end = message
    })
    if (steps !== undefined && 'rootFd' in task) {
      const { subject, rootFd, policy } = task
      const workerData: MakeTask = { subject, steps, counters: counters.memory, rootFd, policy }
      threads.add(new Worker(new URL('./read/make-worker.ts', import.meta.url), { workerData }))
    }
    const queue = new QueueSender<ReadMessage>({ port: channel.port1, counts }, QUEUE_DEPTH)
    let feedError: unknown
    feeding = feed((message, transfer = []) => queue.send(message, transfer, signal), signal)
      .then(() => queue.send({ kind: 'end' }, [], signal))
      .catch((error: unknown) => {
        feedError = error
        over.abort()
      })
    await threads.ended()
    over.abort()
    await feeding
    if (watch.signal.aborted) throw new FleetError('cancelled', 'cancelled')
    if (threads.failure !== undefined) throw errorOf(threads.failure)
    if (end?.type !== 'done' || !threads.isDone) throw feedError ?? new FleetError('internal', 'a thread ended early')
    const { damaged, damagedCount, isDoubtful } = end
    return { files: counters.files, bytes: counters.bytes, damaged, damagedCount, isDoubtful }
  } finally {
    over.abort()
    // What feeds uses what the caller closes.
    await feeding
    clearInterval(timer)
    signal.removeEventListener('abort', stop)
    channel.port1.close()
  }
}
