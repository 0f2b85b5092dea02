import { parentPort, workerData } from 'node:worker_threads'
import { failureOf } from '../threads/thread-failure.ts'
import { chosenOf } from './chosen.ts'
import { cloneTree } from './clone-tree.ts'
import { Counters } from './counters.ts'
import { copyContent } from './file-content.ts'
import { removeTree } from './remove-tree.ts'
import { StampWriter } from './stamps.ts'
import type { TreeTask, TreeTaskOutcome } from './tree-task.ts'

/** The thread that walks one tree, then ends. Descriptors belong to the process, so they arrive as numbers. */
function perform(task: TreeTask, counters: Counters): boolean {
  if (task.kind === 'clone') {
    const stamps = task.stamps && new StampWriter(task.stamps.fd, task.stamps.settledBeforeMs)
    const chosen = task.only && chosenOf(task.only)
    const { cow } = cloneTree({ ...task, name: Buffer.from(task.name), stamps, chosen }, counters)
    stamps?.finish()
    return cow
  }
  if (task.kind === 'copy') copyContent(task, counters)
  else removeTree(task.parentFd, Buffer.from(task.name), counters, task.unlocks)
  return false
}

function outcomeOf(task: TreeTask, counters: Counters): TreeTaskOutcome {
  try {
    return { type: 'done', cow: perform(task, counters) }
  } catch (thrown) {
    return failureOf(thrown, task.subject)
  }
}

if (parentPort !== null) {
  // The owner is this file's only starter (tree-task.ts), so what it sends is of its type.
  const { task, memory } = workerData as { readonly task: TreeTask; readonly memory: SharedArrayBuffer }
  parentPort.postMessage(outcomeOf(task, new Counters(memory)))
}
