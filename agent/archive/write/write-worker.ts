import { type MessagePort, parentPort } from 'node:worker_threads'
import { type ErrorCode, FleetError } from '../../../shared/errors.ts'
import { asFleetError } from '../../native/system-error.ts'
import { type QueueEnds, QueueTaker } from '../../threads/chunk-queue.ts'
import { Counters } from '../../tree/counters.ts'
import type { BytePath } from '../byte-path.ts'
import { type ImagePlace, loadFor, openBytes } from '../image/image-bytes.ts'
import type { ImageShape } from '../image/image-shape.ts'
import { LargeFileList, type LargeFiles } from '../large-file.ts'
import type { Problem, ProblemReason } from '../member.ts'
import { BLOCK } from '../tar-header.ts'
import type { Wanted } from '../wanted.ts'
import type { OlderFiles } from '../write-archive.ts'
import { AttributeRecords } from './attribute-records.ts'
import { FrameFiller } from './frame-filler.ts'
import { FrameSlots, type SlotMemory } from './frame-slots.ts'
import { GoneTar } from './gone-tar.ts'
import { ImageWalk } from './image-walk.ts'
import { IndexText } from './index-text.ts'
import { LinkTable } from './link-table.ts'
import { LinksTar, mayHaveNames } from './links-tar.ts'
import { LiveFiles } from './live-files.ts'
import { MemberWriter } from './member-writer.ts'
import { Patches } from './patches.ts'
import type { Piece } from './piece-store.ts'
import { PreviousEntries } from './previous-entries.ts'
import { Realms, type TaskGraft, type TreeMarks } from './realms.ts'
import type { Level } from './tree-levels.ts'
import { TreeWalk } from './tree-walk.ts'

export interface WriteTask {
  readonly subject: string
  readonly slots: SlotMemory
  readonly counters: SharedArrayBuffer
  readonly indexChunkBytes: number
  readonly previous: QueueEnds | undefined
  readonly source: TreeTask | ImageTask
}

export interface ImageTask {
  readonly kind: 'image'
  readonly place: ImagePlace
  readonly shape: ImageShape
  readonly only: Uint32Array | undefined
}

export interface TreeTask {
  readonly kind: 'tree'
  readonly rootFd: number
  /** Of an unlinked file. */
  readonly linkSpillFd: number
  readonly wanted: Wanted | undefined
  /** What the chain's last point was made of, where that is there. */
  readonly older: OlderFiles | undefined
  readonly tellsLarge: boolean
  readonly untouchedSinceMs: number | undefined
  /** Of the root's own tree. */
  readonly marks: TreeMarks
  readonly grafts: readonly TaskGraft[]
}

/** `again`: the thread waits for all of what the chain holds. */
export type WriteMessage = Piece | { readonly type: 'again' } | WriteEnd

export type WriteEnd =
  | {
      readonly type: 'done'
      readonly problems: readonly Problem[]
      readonly problemCount: number
      readonly large: LargeFiles | undefined
    }
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

type Post = (message: WriteMessage, transfer?: readonly ArrayBuffer[]) => void

interface Parts {
  readonly frames: FrameFiller
  readonly counters: Counters
  readonly line: (path: BytePath, text: string) => void
  readonly problem: (path: BytePath, reason: ProblemReason) => void
  /** The next piece of what the chain holds; undefined at its end. */
  readonly take: (() => Buffer | undefined) | undefined
  readonly stop: () => void
  readonly post: Post
}

function write(task: WriteTask, post: Post): WriteEnd {
  const counters = new Counters(task.counters)
  const stop = () => counters.throwIfStopped()
  const frames = new FrameFiller(new FrameSlots(task.slots), post, stop)
  const index = new IndexText(task.indexChunkBytes, (chunk) => post(chunk, [chunk.text.buffer]))
  const problems = new ProblemList()
  const line = (path: BytePath, text: string) => index.add(path, text)
  const problem = (path: BytePath, reason: ProblemReason) => problems.add(path, reason)
  const taker = task.previous && new QueueTaker<Uint8Array | undefined>(task.previous, stop)
  const take = taker && (() => pieceOf(taker.take()))
  const parts = { frames, counters, line, problem, take, stop, post }
  const { source } = task
  const large = source.kind === 'image' ? writeImage(source, parts) : writeTree(source, parts)
  frames.zeros(END_OF_TAR)
  frames.finish()
  index.flush()
  return { type: 'done', problems: problems.kept, problemCount: problems.count, large }
}

function pieceOf(piece: Uint8Array | undefined): Buffer | undefined {
  return piece && Buffer.from(piece.buffer, piece.byteOffset, piece.length)
}

function writeImage({ place, shape, only }: ImageTask, { take, post, ...parts }: Parts): undefined {
  using image = openBytes(place, parts.stop)
  const previous = take && new PreviousEntries(take)
  const gone = (bytes: Uint8Array<ArrayBuffer>) => post({ type: 'gone', bytes }, [bytes.buffer])
  new ImageWalk({ ...parts, image, shape, only, previous, gone }).run()
}

function writeTree(task: TreeTask, parts: Parts): LargeFiles | undefined {
  const { rootFd, linkSpillFd, wanted, older, untouchedSinceMs, marks, grafts } = task
  const { frames, counters, line, problem, take, stop, post } = parts
  const gone = new GoneTar()
  const realms = new Realms(marks, grafts)
  const { identify } = realms
  const links = new LinkTable(linkSpillFd, realms)
  const attributes = new AttributeRecords()
  const patched = (bytes: Uint8Array<ArrayBuffer>) => post({ type: 'patches', bytes }, [bytes.buffer])
  const large = task.tellsLarge ? new LargeFileList() : undefined
  const told = { line, problem, patched, large }
  const writer = new MemberWriter({ frames, links, attributes, counters, identify, untouchedSinceMs, ...told })
  const lost = (level: Level) => post({ type: 'gone', bytes: gone.member(level) })
  const previous = take && new PreviousEntries(take)
  const isLive = [marks, ...grafts].some((tree) => tree.live !== undefined)
  const live = isLive ? new LiveFiles(realms, attributes) : undefined
  const patches = older && new Patches(rootFd, older)
  new TreeWalk({ rootFd, writer, counters, line, problem, lost, previous, wanted, realms, live, patches }).run()
  if (take === undefined || writer.namesElsewhere === 0) return large?.all
  post({ type: 'again' })
  const again = new PreviousEntries(take, mayHaveNames)
  const tell = (bytes: Uint8Array<ArrayBuffer>) => post({ type: 'links', bytes }, [bytes.buffer])
  new LinksTar({ rootFd, links, attributes, realms, previous: again, tell, throwIfStopped: stop }).run()
  return large?.all
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

// write-thread.ts alone starts this file, so what it sends is of its type. One task after the other.
parentPort?.on('message', async (task: WriteTask) => {
  if (parentPort === null) return
  if (task.source.kind === 'image') await loadFor(task.source.place)
  const end = outcomeOf(task, parentPort)
  task.previous?.port.close()
  parentPort.postMessage(end)
})
