import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { type ErrorCode, FleetError } from '../../../shared/errors.ts'
import { asFleetError } from '../../native/system-error.ts'
import { Counters } from '../../tree/counters.ts'
import type { BytePath } from '../byte-path.ts'
import type { Problem, ProblemReason } from '../member.ts'
import { BLOCK } from '../tar-header.ts'
import { type QueueEnds, QueueTaker } from '../thread/chunk-queue.ts'
import type { Wanted } from '../wanted.ts'
import { AttributeRecords } from './attribute-records.ts'
import { FrameFiller } from './frame-filler.ts'
import { FrameSlots, type SlotMemory } from './frame-slots.ts'
import { GoneTar } from './gone-tar.ts'
import { IndexText } from './index-text.ts'
import { LinkTable } from './link-table.ts'
import { LinksTar, mayHaveNames } from './links-tar.ts'
import { MemberWriter } from './member-writer.ts'
import type { Piece } from './piece-store.ts'
import { PreviousEntries } from './previous-entries.ts'
import { Realms, type TaskGraft, type TreeMarks } from './realms.ts'
import { TreeWalk } from './tree-walk.ts'

export interface WriteTask {
  readonly subject: string
  readonly rootFd: number
  readonly slots: SlotMemory
  readonly counters: SharedArrayBuffer
  /** Of an unlinked file. */
  readonly linkSpillFd: number
  readonly indexChunkBytes: number
  readonly previous: QueueEnds | undefined
  readonly wanted: Wanted | undefined
  /** Of the root's own tree. */
  readonly marks: TreeMarks
  readonly grafts: readonly TaskGraft[]
}

/** `again`: the thread waits for all of what the chain holds. */
export type WriteMessage = Piece | { readonly type: 'again' } | WriteEnd

export type WriteEnd =
  | { readonly type: 'done'; readonly problems: readonly Problem[]; readonly problemCount: number }
  | { readonly type: 'failed'; readonly code: ErrorCode; readonly message: string; readonly detail: string | undefined }

/** Of problems and sockets, this many are told with their path, problems first. */
const MAX_PROBLEMS = 1_000
const END_OF_TAR = 2 * BLOCK

class ProblemList {
  readonly #problems: Problem[] = []
  readonly #sockets: Problem[] = []
  /** Without sockets, which belong to who listens on them and are no content. */
  count = 0

  get kept(): readonly Problem[] {
    return [...this.#problems, ...this.#sockets].slice(0, MAX_PROBLEMS)
  }

  add(path: BytePath, reason: ProblemReason): void {
    if (reason !== 'socket') this.count += 1
    const list = reason === 'socket' ? this.#sockets : this.#problems
    if (list.length < MAX_PROBLEMS) list.push({ path, reason })
  }
}

function write(task: WriteTask, post: (message: WriteMessage, transfer?: readonly ArrayBuffer[]) => void): WriteEnd {
  const counters = new Counters(task.counters)
  const stop = () => counters.throwIfStopped()
  const frames = new FrameFiller(new FrameSlots(task.slots), post, stop)
  const index = new IndexText(task.indexChunkBytes, (chunk) => post(chunk, [chunk.text.buffer]))
  const problems = new ProblemList()
  const gone = new GoneTar()
  const line = (path: BytePath, text: string) => index.add(path, text)
  const problem = (path: BytePath, reason: ProblemReason) => problems.add(path, reason)
  const { rootFd, previous, wanted } = task
  const realms = new Realms(task.marks, task.grafts)
  const { identify } = realms
  const links = new LinkTable(task.linkSpillFd, realms)
  const attributes = new AttributeRecords()
  const writer = new MemberWriter({ frames, links, attributes, counters, identify, line, problem })
  const taker = previous === undefined ? undefined : new QueueTaker<Uint8Array | undefined>(previous, stop)
  const take = () => {
    const piece = taker?.take()
    return piece === undefined ? undefined : Buffer.from(piece.buffer, piece.byteOffset, piece.length)
  }
  new TreeWalk({
    rootFd,
    writer,
    counters,
    line,
    problem,
    lost: (level) => post({ type: 'gone', bytes: gone.member(level) }),
    previous: taker === undefined ? undefined : new PreviousEntries(take),
    wanted,
    realms,
  }).run()
  if (taker !== undefined && writer.namesElsewhere > 0) {
    post({ type: 'again' })
    const again = new PreviousEntries(take, mayHaveNames)
    const tell = (bytes: Uint8Array<ArrayBuffer>) => post({ type: 'links', bytes }, [bytes.buffer])
    new LinksTar({ rootFd, links, attributes, realms, previous: again, tell, throwIfStopped: stop }).run()
  }
  frames.zeros(END_OF_TAR)
  frames.finish()
  index.flush()
  return { type: 'done', problems: problems.kept, problemCount: problems.count }
}

function outcomeOf(task: WriteTask, port: MessagePort): WriteEnd {
  try {
    return write(task, (message, transfer) => port.postMessage(message, [...(transfer ?? [])]))
  } catch (thrown) {
    const error = asFleetError(thrown, task.subject)
    if (!(error instanceof FleetError)) throw error
    const { code, message, detail } = error
    return { type: 'failed', code, message, detail }
  }
}

// write-archive.ts alone starts this file, so what it sends is of its type.
const task = workerData as WriteTask
if (parentPort !== null) {
  parentPort.postMessage(outcomeOf(task, parentPort))
  task.previous?.port.close()
}
