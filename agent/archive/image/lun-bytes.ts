import assert from 'node:assert/strict'
import { FleetError } from '../../../shared/errors.ts'
import {
  getLbaStatus,
  parseLbaStatus,
  type Run,
  readBlocks,
  synchronizeCache,
  unmapAsZeros,
  writeBlocks,
} from '../../iscsi/commands.ts'
import type { LunLogin } from '../../iscsi/connection.ts'
import { type Pending, Session } from '../../iscsi/session.ts'
import type { ProblemReason } from '../member.ts'
import type { ImageBytes } from './image-bytes.ts'

/** Read or written by one command, unless the target takes less. */
const PIECE_BYTES = 2 ** 18
/** On their way at one time: 8 MiB in all. */
const MAX_PIECES = 32

/** A piece of the LUN, at a multiple of its size, and the memory that it is read to or written from. */
interface Piece {
  readonly memory: Buffer
  readonly pending: Pending
  readonly bytes: number
}

/** What is being put together to be written: one behind the other, within one piece. */
interface Filling {
  readonly memory: Buffer
  readonly from: number
  end: number
}

/** A LUN that nobody else uses: reads several pieces ahead, and writes several behind. */
export class LunBytes implements ImageBytes {
  readonly endBytes: number
  readonly stamp = undefined
  readonly #session: Session
  readonly #pieceBytes: number
  /** By number, in the order they were asked for. */
  readonly #reads = new Map<number, Piece>()
  readonly #writes: Piece[] = []
  readonly #free: Buffer[] = []
  #memories = 0
  #filling: Filling | undefined
  #tellsHoles: boolean
  #unmaps: boolean
  #runs: readonly Run[] = []

  constructor(login: LunLogin, stop: () => void) {
    this.#session = new Session(login, stop)
    this.endBytes = login.sizeBytes
    const { unit } = this.#session
    this.#pieceBytes = Math.min(PIECE_BYTES, 2 ** Math.floor(Math.log2(unit.transferBytes)))
    this.#tellsHoles = unit.isThin
    this.#unmaps = unit.unmapBlocks > 0
  }

  /** It may have lost what it said it had when it went away. */
  get isDoubtful(): boolean {
    return this.#session.wasLost
  }

  data(from: number): { readonly start: number; readonly end: number } | undefined {
    const { blockBytes, blocks } = this.#session.unit
    for (let lba = Math.floor(from / blockBytes); lba < blocks; ) {
      const run = this.#runAt(lba)
      if (run === undefined) return { start: from, end: Number.POSITIVE_INFINITY }
      const end = run.lba + run.blocks
      if (run.isMapped) return { start: Math.max(from, run.lba * blockBytes), end: end * blockBytes }
      lba = end
    }
    return undefined
  }

  ahead(from: number, end: number): void {
    const last = Math.ceil(Math.min(end, this.endBytes) / this.#pieceBytes)
    for (let number = Math.floor(from / this.#pieceBytes); number < last; number += 1) {
      if (this.#reads.has(number)) continue
      if (this.#memories === MAX_PIECES && this.#free.length === 0) return
      this.#read(number)
    }
  }

  read(room: Buffer, position: number): ProblemReason | undefined {
    let problem: ProblemReason | undefined
    const end = position + room.length
    for (let at = position; at < end; ) {
      const number = Math.floor(at / this.#pieceBytes)
      if (!this.#reads.has(number)) this.ahead(at, end)
      const { memory, pending, bytes } = this.#reads.get(number) ?? this.#read(number)
      if (this.#session.wait(pending) !== 'good' || pending.shortBytes > 0) {
        problem = 'unreadable'
        memory.fill(0)
      }
      const from = at - number * this.#pieceBytes
      const until = Math.min(bytes, from + end - at)
      assert(until > from, 'behind the end of the LUN')
      memory.copy(room, at - position, from, until)
      at += until - from
      // Read on from here, it is asked for again.
      this.#drop(number)
    }
    return problem
  }

  write(bytes: Buffer, position: number): void {
    for (let done = 0; done < bytes.length; ) {
      const at = position + done
      if (this.#filling !== undefined && this.#filling.end !== at) this.#put()
      this.#filling ??= { memory: this.#memory(), from: at, end: at }
      const filling = this.#filling
      const room = this.#pieceBytes - (filling.from % this.#pieceBytes) - (filling.end - filling.from)
      const taken = bytes.copy(
        filling.memory,
        filling.end - filling.from,
        done,
        done + Math.min(room, bytes.length - done),
      )
      filling.end += taken
      done += taken
      if (taken === room) this.#put()
    }
  }

  zero(from: number, end: number): void {
    this.#put()
    const { blockBytes, unmapBlocks } = this.#session.unit
    // A block in which something ends was filled up with zeros when it was written.
    let lba = Math.ceil(from / blockBytes)
    const until = Math.ceil(end / blockBytes)
    const zeros = Buffer.alloc(this.#pieceBytes)
    while (lba < until) {
      if (this.#unmaps) {
        const blocks = Math.min(unmapBlocks, until - lba)
        const said = this.#session.ask(unmapAsZeros({ lba, blocks }, zeros.subarray(0, blockBytes)))
        if (said === 'good') lba += blocks
        else this.#unmaps = false
      } else {
        const blocks = Math.min(this.#pieceBytes / blockBytes, until - lba)
        this.#write({ lba, blocks }, zeros)
        lba += blocks
      }
    }
  }

  flush(): void {
    this.#put()
    while (this.#writes.length > 0) this.#settle()
    // One that has no cache need not know the command.
    if (this.#session.ask(synchronizeCache()) === 'unreadable') throw unwritten()
  }

  [Symbol.dispose](): void {
    this.#session[Symbol.dispose]()
  }

  /** What the target says of a block and those behind it; undefined where it does not. */
  #runAt(lba: number): Run | undefined {
    if (!this.#tellsHoles) return undefined
    const holds = (run: Run) => run.lba <= lba && lba < run.lba + run.blocks
    const known = this.#runs.find(holds)
    if (known !== undefined) return known
    const command = getLbaStatus(lba)
    this.#runs = this.#session.ask(command) === 'good' ? parseLbaStatus(command.data, lba) : []
    const found = this.#runs.find(holds)
    this.#tellsHoles = found !== undefined
    return found
  }

  #read(number: number): Piece {
    const { blockBytes } = this.#session.unit
    const memory = this.#memory()
    const position = number * this.#pieceBytes
    const bytes = Math.min(this.#pieceBytes, this.endBytes - position)
    const at = { lba: position / blockBytes, blocks: bytes / blockBytes }
    const piece = { memory, bytes, pending: this.#session.send(readBlocks(at, memory.subarray(0, bytes))) }
    this.#reads.set(number, piece)
    return piece
  }

  #drop(number: number): void {
    const piece = this.#reads.get(number)
    if (piece === undefined) return
    this.#session.wait(piece.pending)
    this.#reads.delete(number)
    this.#free.push(piece.memory)
  }

  /** Memory of its own for one more piece; the eldest makes room for it. */
  #memory(): Buffer {
    const free = this.#free.pop()
    if (free !== undefined) return free
    if (this.#memories < MAX_PIECES) {
      this.#memories += 1
      return Buffer.alloc(this.#pieceBytes)
    }
    if (this.#writes.length > 0) this.#settle()
    else
      for (const number of this.#reads.keys()) {
        this.#drop(number)
        break
      }
    return this.#memory()
  }

  #put(): void {
    const filling = this.#filling
    if (filling === undefined) return
    this.#filling = undefined
    const { memory, from, end } = filling
    const { blockBytes } = this.#session.unit
    assert(from % blockBytes === 0, 'what is written begins within a block')
    const blocks = Math.ceil((end - from) / blockBytes)
    memory.fill(0, end - from, blocks * blockBytes)
    this.#write({ lba: from / blockBytes, blocks }, memory, memory)
  }

  /** @param own given back when it was written */
  #write(at: { readonly lba: number; readonly blocks: number }, memory: Buffer, own?: Buffer): void {
    const bytes = at.blocks * this.#session.unit.blockBytes
    while (this.#writes.length >= MAX_PIECES) this.#settle()
    const pending = this.#session.send(writeBlocks(at, memory.subarray(0, bytes)))
    this.#writes.push({ memory: own ?? NONE, bytes, pending })
  }

  #settle(): void {
    const piece = this.#writes.shift()
    if (piece === undefined) return
    if (this.#session.wait(piece.pending) !== 'good' || piece.pending.shortBytes > 0) throw unwritten()
    if (piece.memory !== NONE) this.#free.push(piece.memory)
  }
}

const NONE = Buffer.alloc(0)

function unwritten(): FleetError {
  return new FleetError('unavailable', 'the target could not write a piece of the LUN')
}
