import { type Transferable, Worker } from 'node:worker_threads'
import type { Piece } from './piece-store.ts'
import type { WriteEnd, WriteMessage, WriteTask } from './write-worker.ts'

/** Enough for the names of a directory of two million; a lower bound makes the collector run earlier. */
const MEMORY = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 128 }
/** A thread that has nothing to do ends after this: the next increment of a night's round comes sooner, and finds its code compiled. */
const KEPT_MS = 30_000

interface Idle {
  readonly worker: Worker
  readonly end: NodeJS.Timeout
}

/** At most one is kept, however many write at a time. */
let idle: Idle | undefined

/**
 * Has a thread do one task, and tells what it tells meanwhile.
 * @param transfer ports of the task's @returns undefined when the thread ended without an end of its task @throws what is a bug there
 */
export async function runWriteTask(
  task: WriteTask,
  transfer: readonly Transferable[],
  tell: (message: Piece | { readonly type: 'again' }) => void,
): Promise<WriteEnd | undefined> {
  const worker = taken()
  const { promise, resolve, reject } = Promise.withResolvers<WriteEnd | undefined>()
  worker.on('message', (message: WriteMessage) => {
    if (message.type === 'done' || message.type === 'failed') resolve(message)
    else tell(message)
  })
  worker.once('error', reject)
  worker.once('exit', () => resolve(undefined))
  worker.postMessage(task, transfer)
  const end = await promise
  forgetListeners(worker)
  if (end !== undefined) keep(worker)
  return end
}

function taken(): Worker {
  const kept = idle
  idle = undefined
  if (kept === undefined) return new Worker(new URL('./write-worker.ts', import.meta.url), { resourceLimits: MEMORY })
  clearTimeout(kept.end)
  forgetListeners(kept.worker)
  kept.worker.ref()
  return kept.worker
}

/** Node has listeners of its own there, by which messages come. */
function forgetListeners(worker: Worker): void {
  for (const event of ['message', 'error', 'exit']) worker.removeAllListeners(event)
}

/** Neither it nor its clock keep the process from ending. */
function keep(worker: Worker): void {
  if (idle !== undefined) {
    void worker.terminate()
    return
  }
  const end = setTimeout(letThreadGo, KEPT_MS).unref()
  const forget = () => {
    clearTimeout(end)
    if (idle?.worker === worker) idle = undefined
  }
  worker.unref()
  worker.once('error', forget)
  worker.once('exit', forget)
  idle = { worker, end }
}

/** The one that has nothing to do, at once. */
export function letThreadGo(): void {
  if (idle === undefined) return
  clearTimeout(idle.end)
  void idle.worker.terminate()
  idle = undefined
}
