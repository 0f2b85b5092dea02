import { once } from 'node:events'
import { MessageChannel, Worker } from 'node:worker_threads'
import { FleetError } from '../../shared/errors.ts'
import { Counters } from '../tree/counters.ts'
import type { ImageReadTask, ReadEnd, ReadMessage, ReadTask, TreeReadTask } from './read/read-worker.ts'
import { newCounts, QueueSender } from './thread/chunk-queue.ts'
import type { ArchiveWatch } from './write-archive.ts'

const PROGRESS_INTERVAL_MS = 100
const PHASES: Readonly<Record<ReadTask['mode'], string>> = {
  check: 'verify',
  extract: 'extract',
  'extract-stream': 'extract',
  image: 'extract',
  compare: 'compare',
}
type Given = 'queue' | 'counters'

export type Send = (message: ReadMessage, transfer?: readonly ArrayBuffer[]) => Promise<void>

export interface ReadDone {
  readonly files: number
  readonly bytes: number
  readonly damaged: Extract<ReadEnd, { type: 'done' }>['damaged']
  readonly damagedCount: number
  readonly isDoubtful: boolean
}

/**
 * Runs one reading thread and feeds it. Both ends stop when either fails or the watch aborts.
 * @throws FleetError
 */
export async function runReader(
  task: Omit<TreeReadTask, Given> | Omit<ImageReadTask, Given>,
  feed: (send: Send, signal: AbortSignal) => Promise<void>,
  watch: ArchiveWatch,
): Promise<ReadDone> {
  if (watch.signal.aborted) throw new FleetError('cancelled', 'cancelled')
  const counters = new Counters()
  const channel = new MessageChannel()
  const counts = newCounts()
  const over = new AbortController()
  const signal = AbortSignal.any([watch.signal, over.signal])
  const stop = () => counters.stop()
  signal.addEventListener('abort', stop)
  const worker = new Worker(new URL('./read/read-worker.ts', import.meta.url), {
    workerData: { ...task, queue: { port: channel.port2, counts }, counters: counters.memory } satisfies ReadTask,
    transferList: [channel.port2],
  })
  const phase = PHASES[task.mode]
  const timer = setInterval(
    () => watch.progress({ phase, files: counters.files, bytes: counters.bytes }),
    PROGRESS_INTERVAL_MS,
  )
  let end: ReadEnd | undefined
  worker.on('message', (message: ReadEnd) => {
    end = message
  })
  const queue = new QueueSender<ReadMessage>({ port: channel.port1, counts })
  let feedError: unknown
  const feeding = feed((message, transfer = []) => queue.send(message, transfer, signal), signal)
    .then(() => queue.send({ kind: 'end' }, [], signal))
    .catch((error: unknown) => {
      feedError = error
      over.abort()
    })
  try {
    // `once` rejects on the worker's 'error' event: a bug there ends the job here.
    await once(worker, 'exit')
    const failedFirst = end?.type === 'failed' && !over.signal.aborted ? end : undefined
    over.abort()
    await feeding
    if (watch.signal.aborted) throw new FleetError('cancelled', 'cancelled')
    if (failedFirst !== undefined) throw errorOf(failedFirst)
    if (end?.type !== 'done') throw feedError ?? new FleetError('internal', 'the reading thread ended early')
    const { damaged, damagedCount, isDoubtful } = end
    return { files: counters.files, bytes: counters.bytes, damaged, damagedCount, isDoubtful }
  } finally {
    over.abort()
    clearInterval(timer)
    signal.removeEventListener('abort', stop)
    channel.port1.close()
  }
}

function errorOf({ code, message, detail }: Extract<ReadEnd, { type: 'failed' }>): FleetError {
  return new FleetError(code, message, detail === undefined ? {} : { detail })
}
