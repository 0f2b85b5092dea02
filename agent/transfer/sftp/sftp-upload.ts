import { FleetError } from '../../../shared/errors.ts'
import { release } from '../../native/release.ts'
import { patiently, STALL_MS } from '../patience.ts'
import { mayRetry, pauseAfter, type RetryPolicy, retry } from '../retry.ts'
import type { Upload, UploadOptions } from '../transfer.ts'
import { asTransferError } from '../transfer-error.ts'
import type { SftpSession } from './sftp-connection.ts'
import { asSftpError, isPlainFailure } from './sftp-error.ts'
import type { SftpLink } from './sftp-link.ts'

/**
 * Seven packets of SSH, as OpenSSH takes them, with the head of the request; ssh2 divides it for servers that take less. Pieces of one packet cost a
 * request, an answer and a second packet of a few bytes each.
 */
const PIECE_BYTES = 7 * 32_768 - 64
/** They fill OpenSSH's window of 2 MiB; with one, every piece would wait a round trip. */
const MAX_IN_FLIGHT = 10
const DISCARD_MS = 5_000
const FULL_BELOW_BYTES = 1_048_576

export interface SftpUploadParts {
  readonly link: SftpLink
  readonly policy: RetryPolicy
  readonly options: UploadOptions
  readonly stallMs: number | undefined
  /** Of the target. */
  readonly name: string
  /** As the server names it. */
  readonly partial: string
  readonly publish: () => Promise<void>
  readonly freeBytes: () => Promise<number | undefined>
}

interface Piece {
  readonly offset: number
  readonly bytes: Buffer
  /** What its bytes lie in. */
  readonly memory: Buffer
  /** A connection that was given up may still have its memory in hand. */
  isRepeated: boolean
}

interface OpenFile {
  readonly session: SftpSession
  readonly handle: Buffer
}

/**
 * Pieces are copied, written side by side, by offset, and kept until the server has confirmed them: after a cut they are written again over
 * a new connection, to the same offsets of the same partial file, and the upload goes on where it was.
 */
export class SftpUpload implements Upload {
  readonly readable = true
  readonly #parts: SftpUploadParts
  readonly #unconfirmed = new Map<number, Piece>()
  /** Of pieces that were confirmed, to be filled again: memory of this size is slow to be given back. */
  readonly #spare: Buffer[] = []
  #file: OpenFile | undefined
  #offset = 0
  #failure: unknown
  /** Connections in a row over which nothing was confirmed. */
  #fruitless = 0
  #wake: () => void = () => undefined

  constructor(parts: SftpUploadParts) {
    this.#parts = parts
  }

  /** Makes the partial file. @throws FleetError */
  async begin(): Promise<void> {
    this.#file = await this.#open('wx')
  }

  async write(chunk: Buffer): Promise<void> {
    for (let start = 0; start < chunk.length; start += PIECE_BYTES) {
      await this.#settle(MAX_IN_FLIGHT - 1)
      const memory = this.#spare.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES)
      const bytes = memory.subarray(0, chunk.copy(memory, 0, start, start + PIECE_BYTES))
      const piece = { offset: this.#offset, bytes, memory, isRepeated: false }
      this.#offset += piece.bytes.length
      this.#unconfirmed.set(piece.offset, piece)
      this.#send(piece)
    }
  }

  async close(): Promise<void> {
    await this.#settle(0)
    this.#giveBack()
    const { link, options } = this.#parts
    await this.#try(async (attempt) => {
      if (attempt > 1) this.#file = await this.#open('r+')
      const { session, handle } = this.#opened()
      await link.optional(session, options.signal, (sftp, done) => sftp.ext_openssh_fsync(handle, done))
      await link.call(session, options.signal, (sftp, done) => sftp.close(handle, done))
    })
    this.#file = undefined
  }

  async publish(): Promise<{ readonly checksum: boolean }> {
    await this.#parts.publish()
    return { checksum: false }
  }

  async discard(): Promise<void> {
    const { link, partial } = this.#parts
    this.#giveBack()
    const signal = AbortSignal.timeout(DISCARD_MS)
    this.#failure ??= new FleetError('cancelled', 'cancelled')
    const session = await link.session(signal)
    const file = this.#file
    if (file?.session === session)
      await link.call(session, signal, (sftp, done) => sftp.close(file.handle, done)).catch(() => undefined)
    await link.call(session, signal, (sftp, done) => sftp.unlink(partial, done))
  }

  /** Waits until at most `count` pieces are unconfirmed, over as many connections as the retries allow. */
  async #settle(count: number): Promise<void> {
    const { signal } = this.#parts.options
    const stallMs = this.#parts.stallMs ?? STALL_MS
    while (this.#unconfirmed.size > count || this.#failure !== undefined) {
      if (this.#failure !== undefined) await this.#recover()
      if (this.#unconfirmed.size <= count) return
      const changed = new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      const giveUp = () => this.#file?.session.end()
      try {
        await patiently(changed, { signal, stallMs, giveUp })
      } catch (error) {
        this.#failure ??= error
      }
    }
  }

  #send(piece: Piece): void {
    const file = this.#opened()
    file.session.sftp.write(file.handle, piece.bytes, 0, piece.bytes.length, piece.offset, (error) => {
      if (file !== this.#file) return // of a connection that was given up
      if (error) this.#failure ??= asSftpError(error)
      else {
        this.#unconfirmed.delete(piece.offset)
        if (!piece.isRepeated) this.#spare.push(piece.memory)
        this.#fruitless = 0
      }
      this.#wake()
    })
  }

  /** Opens the partial file again and repeats what was not confirmed. @throws what cannot be well on another try */
  async #recover(): Promise<void> {
    const failure = await this.#explained(this.#failure)
    const { policy, options } = this.#parts
    if (!mayRetry(failure) || options.signal.aborted || this.#fruitless === policy.attempts) throw failure
    this.#file?.session.end()
    this.#file = undefined
    if (this.#fruitless > 0) await pauseAfter(policy, this.#fruitless, options.signal)
    this.#fruitless += 1
    this.#file = await this.#try(() => this.#open('r+'))
    this.#failure = undefined
    for (const piece of this.#unconfirmed.values()) {
      piece.isRepeated = true
      this.#send(piece)
    }
  }

  /** A server that only says "failure" may be full. */
  async #explained(failure: unknown): Promise<unknown> {
    if (!isPlainFailure(failure)) return failure
    const freeBytes = await this.#parts.freeBytes().catch(() => undefined)
    if (freeBytes === undefined || freeBytes >= FULL_BELOW_BYTES) return failure
    return new FleetError('no_space', 'is full', { cause: failure })
  }

  #giveBack(): void {
    for (const memory of this.#spare.splice(0)) release(memory)
  }

  async #open(flags: 'wx' | 'r+'): Promise<OpenFile> {
    const { link, partial, options } = this.#parts
    const session = await link.session(options.signal)
    const handle = await link.call<Buffer>(session, options.signal, (sftp, done) =>
      sftp.open(partial, flags, { mode: 0o600 }, done),
    )
    return { session, handle }
  }

  #try<Result>(work: (attempt: number) => Promise<Result>): Promise<Result> {
    const { policy, options, name } = this.#parts
    return retry(policy, options.signal, async (attempt) => {
      try {
        return await work(attempt)
      } catch (error) {
        throw asTransferError(error, name)
      }
    })
  }

  #opened(): OpenFile {
    if (this.#file === undefined) throw new FleetError('internal', 'the upload has ended')
    return this.#file
  }
}
