import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { FleetError } from '../../../shared/errors.ts'
import { type QueueEnds, QueueTaker } from '../../threads/chunk-queue.ts'
import { failureOf } from '../../threads/thread-failure.ts'
import type { ThreadFailure } from '../../threads/thread-group.ts'
import { Counters } from '../../tree/counters.ts'
import { type BytePath, displayPath } from '../byte-path.ts'
import { type ImageBytes, type ImagePlace, loadFor, openBytes } from '../image/image-bytes.ts'
import { ImageComparison } from '../image/image-comparison.ts'
import type { ImageShape } from '../image/image-shape.ts'
import { ImageTarget } from '../image/image-target.ts'
import type { MemberType } from '../member.ts'
import { type ContentTarget, readContent } from './content-reader.ts'
import { FrameWindow, type TarFrame } from './frame-window.ts'
import { placeOf } from './member-name.ts'
import { StepFiller } from './step-ring.ts'
import { StreamReader } from './stream-reader.ts'
import { readEntry, type TarEntry } from './tar-parser.ts'
import { type BuildPolicy, TreeBuilder } from './tree-builder.ts'
import type { TreeMaker } from './tree-maker.ts'
import { TreeTeller } from './tree-steps.ts'

/** One member to read, in the order of the tree. */
export interface ReadItem {
  readonly path: BytePath
  readonly layer: number
  /** Of the member whose bytes are read: its own, or of the one that a hard link repeats. */
  readonly offset: number
  readonly storedName: BytePath
  readonly storedType: MemberType
  readonly hash: string | undefined
  /** Already extracted under this path: nothing is read. */
  readonly linkTo: BytePath | undefined
  /** Where a tree is brought up to date, what goes before: whatever stands there, or what is no directory. */
  readonly clear?: 'all' | 'other' | undefined
  /** Of a file that is made of several members, one written over the other. They follow each other. */
  readonly part?: FilePart | undefined
}

export interface FilePart {
  readonly isFirst: boolean
  /** Has the file's metadata. */
  readonly isLast: boolean
}

/** A name that goes, with all below it. */
export interface GoneItem {
  readonly path: BytePath
  readonly clear: 'gone'
}

export type ReadMessage =
  | { readonly kind: 'items'; readonly items: readonly (ReadItem | GoneItem)[] }
  | {
      readonly kind: 'frame'
      readonly layer: number
      readonly rawOffset: number
      readonly bytes: Uint8Array | undefined
    }
  /** No member of this archive comes soon. */
  | { readonly kind: 'forget'; readonly layer: number }
  | { readonly kind: 'stream'; readonly bytes: Uint8Array }
  | { readonly kind: 'end' }

interface AnyTask {
  readonly subject: string
  readonly queue: QueueEnds
  readonly counters: SharedArrayBuffer
}

export interface TreeReadTask extends AnyTask {
  /** `check` reads and compares hashes, `extract` makes the tree, `extract-stream` one out of an archive without an index. */
  readonly mode: 'check' | 'extract' | 'extract-stream'
  readonly rootFd: number
  readonly policy: BuildPolicy
  /** Where another thread is told what to make, for `extract` of nothing older; else this one makes it. */
  readonly steps: SharedArrayBuffer | undefined
}

export interface ImageReadTask extends AnyTask {
  /** `image` puts chunks into an image, `compare` reads the image and compares it with the items' hashes. */
  readonly mode: 'image' | 'compare'
  readonly place: ImagePlace
  readonly shape: ImageShape
}

export type ReadTask = TreeReadTask | ImageReadTask

export type ReadEnd =
  | {
      readonly type: 'done'
      readonly damaged: readonly BytePath[]
      readonly damagedCount: number
      /** Whether what was written to an image may be lost all the same: it is to be read again. */
      readonly isDoubtful: boolean
    }
  | ThreadFailure

/** Where what is read goes; to nowhere if it is only checked. */
interface Targets {
  readonly tree?: TreeMaker
  /** The same tree, where an older state of it may be there. */
  readonly older?: TreeBuilder
  readonly image?: ImageTarget
}

const MAX_DAMAGED = 1_000
const WHOLE: FilePart = { isFirst: true, isLast: true }
const NOWHERE: ContentTarget = { write: () => undefined, setLength: () => undefined }

class Reading {
  readonly #task: ReadTask
  readonly #queue: QueueTaker<ReadMessage>
  readonly #counters: Counters
  readonly #windows = new Map<number, FrameWindow>()
  readonly #damaged: BytePath[] = []
  #damagedCount = 0
  #isDoubtful = false

  constructor(task: ReadTask) {
    this.#task = task
    this.#counters = new Counters(task.counters)
    this.#queue = new QueueTaker(task.queue, () => this.#counters.throwIfStopped())
  }

  run(): ReadEnd {
    const task = this.#task
    if ('rootFd' in task) this.#runTree(task)
    else this.#runImage(task)
    const [damaged, damagedCount, isDoubtful] = [this.#damaged, this.#damagedCount, this.#isDoubtful]
    return { type: 'done', damaged, damagedCount, isDoubtful }
  }

  #runTree({ rootFd, policy, mode, steps }: TreeReadTask): void {
    if (mode === 'check') {
      this.#runItems({})
      return
    }
    if (steps !== undefined) {
      const tree = new TreeTeller(new StepFiller(steps, () => this.#counters.throwIfStopped()))
      this.#runItems({ tree })
      tree.finish()
      return
    }
    const tree = new TreeBuilder(rootFd, policy)
    try {
      if (mode === 'extract-stream') this.#runStream(tree)
      else this.#runItems({ tree, older: tree })
      tree.finish()
    } finally {
      tree.close()
    }
  }

  #runImage({ mode, place, shape }: ImageReadTask): void {
    using image = openBytes(place, () => this.#counters.throwIfStopped())
    if (mode === 'compare') {
      this.#compare(image, shape)
      return
    }
    const target = new ImageTarget(image, shape)
    this.#runItems({ image: target })
    this.#isDoubtful = target.finish()
  }

  #compare(image: ImageBytes, shape: ImageShape): void {
    const differs = (path: BytePath) => this.#tellDamaged(path)
    const comparison = new ImageComparison(image, shape, { counters: this.#counters, differs })
    for (let message = this.#queue.take(); message.kind !== 'end'; message = this.#queue.take()) {
      if (message.kind !== 'items') continue
      for (const item of message.items) {
        comparison.chunk(item.path, 'hash' in item ? item.hash : undefined)
        this.#counters.addFiles(1)
      }
    }
    comparison.finish()
  }

  #runItems(targets: Targets): void {
    for (let message = this.#queue.take(); message.kind !== 'end'; message = this.#queue.take()) {
      if (message.kind === 'frame') this.#window(message.layer).replace(frameOf(message))
      if (message.kind === 'forget') this.#forget(message.layer)
      if (message.kind !== 'items') continue
      for (const item of message.items) {
        this.#counters.throwIfStopped()
        if (item.clear !== undefined) targets.older?.clear(item.path, item.clear === 'other', this.#counters)
        if (item.clear === 'gone') continue
        this.#read(item, targets)
        if (item.part?.isLast !== false) this.#counters.addFiles(1)
      }
      targets.tree?.pause()
    }
  }

  #read(item: ReadItem, { tree, image }: Targets): void {
    try {
      if (item.linkTo !== undefined) {
        tree?.hardLink(linkEntry(item), `./${item.linkTo}`)
        return
      }
      const window = this.#window(item.layer)
      window.seek(item.offset)
      const stored = readEntry(window)
      if (stored === undefined || !isOf(item, stored))
        throw new FleetError('corrupt', 'the archive holds something else than its index says')
      const name = `./${item.path}`
      const entry = stored.name === name ? stored : { ...stored, name }
      const counters = this.#counters
      const hash = image?.place(item.path, entry, window, counters) ?? place(entry, window, tree, counters, item.part)
      if (item.hash !== undefined && hash !== item.hash)
        throw new FleetError('corrupt', 'its content does not match its recorded hash')
    } catch (error) {
      this.#isDamaged(item, error)
    }
  }

  /** Checking goes on behind a damaged member; extracting ends there. */
  #isDamaged(item: ReadItem, error: unknown): void {
    if (!(error instanceof FleetError) || error.code !== 'corrupt') throw error
    if (this.#task.mode !== 'check')
      throw new FleetError('corrupt', `member '${displayPath(item.path)}': ${error.message}`, { cause: error })
    this.#tellDamaged(item.path)
  }

  #tellDamaged(path: BytePath): void {
    this.#damagedCount += 1
    if (this.#damaged.length < MAX_DAMAGED) this.#damaged.push(path)
  }

  #runStream(tree: TreeMaker): void {
    const reader = new StreamReader(() => {
      const message = this.#queue.take()
      return message.kind === 'stream'
        ? Buffer.from(message.bytes.buffer, message.bytes.byteOffset, message.bytes.length)
        : undefined
    })
    for (let entry = readEntry(reader); entry !== undefined; entry = readEntry(reader)) {
      this.#counters.throwIfStopped()
      if (entry.type === 'hardlink') tree.hardLink(entry, entry.link)
      else place(entry, reader, tree, this.#counters)
      this.#counters.addFiles(1)
    }
    reader.drain()
  }

  #forget(layer: number): void {
    this.#windows.get(layer)?.replace({ layer, rawOffset: 0, bytes: undefined })
    this.#windows.delete(layer)
  }

  #window(layer: number): FrameWindow {
    const known = this.#windows.get(layer)
    if (known !== undefined) return known
    const window = new FrameWindow(() => {
      const message = this.#queue.take()
      if (message.kind !== 'frame' || message.layer !== layer)
        throw new FleetError('corrupt', 'the archive ends within a member')
      return frameOf(message)
    })
    this.#windows.set(layer, window)
    return window
  }
}

function isOf({ storedName, storedType }: ReadItem, { name, type }: TarEntry): boolean {
  return type === storedType && (name === `./${storedName}` || placeOf(name) === storedName)
}

/** @returns the hash of a file's content */
function place(
  entry: TarEntry,
  reader: FrameWindow | StreamReader,
  tree: TreeMaker | undefined,
  counters: Counters,
  part = WHOLE,
): string | undefined {
  if (entry.type === 'file') return placeFile(entry, reader, tree, counters, part)
  if (entry.type === 'directory') tree?.directory(entry)
  else tree?.special(entry)
  return undefined
}

function placeFile(
  entry: TarEntry,
  reader: FrameWindow | StreamReader,
  tree: TreeMaker | undefined,
  counters: Counters,
  { isFirst, isLast }: FilePart,
): string {
  if (!isFirst && entry.sparse === undefined) throw new FleetError('corrupt', 'a patch does not say where it belongs')
  if (tree === undefined) return readContent(entry, reader, NOWHERE, counters)
  tree.beginFile(entry, isFirst)
  const hash = readContent(entry, reader, tree, counters)
  tree.endFile(entry, isLast)
  return hash
}

function frameOf({ layer, rawOffset, bytes }: Extract<ReadMessage, { kind: 'frame' }>): TarFrame {
  return {
    layer,
    rawOffset,
    bytes: bytes === undefined ? undefined : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
  }
}

function linkEntry({ path, linkTo }: ReadItem): TarEntry {
  const nothing = { mode: 0, uid: 0, gid: 0, storedSize: 0, mtime: '0', major: 0, minor: 0, sparse: undefined }
  return { ...nothing, name: `./${path}`, type: 'hardlink', link: linkTo ?? '', attributes: new Map() }
}

function outcomeOf(task: ReadTask): ReadEnd {
  try {
    return new Reading(task).run()
  } catch (thrown) {
    return failureOf(thrown, task.subject)
  }
}

async function run(port: MessagePort): Promise<void> {
  // run-reader.ts alone starts this file, so what it sends is of its type.
  const task = workerData as ReadTask
  if ('place' in task) await loadFor(task.place)
  port.postMessage(outcomeOf(task))
  task.queue.port.close()
}

if (parentPort !== null) await run(parentPort)
