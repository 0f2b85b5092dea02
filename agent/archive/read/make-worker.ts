import { parentPort, workerData } from 'node:worker_threads'
import { failureOf } from '../../threads/thread-failure.ts'
import type { ThreadEnd } from '../../threads/thread-group.ts'
import { Counters } from '../../tree/counters.ts'
import { StepTaker } from './step-ring.ts'
import { type BuildPolicy, TreeBuilder } from './tree-builder.ts'
import { makeTold } from './tree-steps.ts'

export interface MakeTask {
  readonly subject: string
  readonly steps: SharedArrayBuffer
  /** Tell this thread to stop; it counts nothing. */
  readonly counters: SharedArrayBuffer
  readonly rootFd: number
  readonly policy: BuildPolicy
}

function outcomeOf({ subject, steps, counters, rootFd, policy }: MakeTask): ThreadEnd {
  try {
    const stopping = new Counters(counters)
    const throwIfStopped = () => stopping.throwIfStopped()
    const builder = new TreeBuilder(rootFd, policy)
    try {
      makeTold(new StepTaker(steps, throwIfStopped), builder, throwIfStopped)
    } finally {
      builder.close()
    }
    return { type: 'done' }
  } catch (thrown) {
    return failureOf(thrown, subject)
  }
}

// run-reader.ts alone starts this file, so what it sends is of its type.
parentPort?.postMessage(outcomeOf(workerData as MakeTask))
