import { createHash } from 'node:crypto'
import type { BytePath } from '../byte-path.ts'
import { type Compression, compressFrame } from '../compression.ts'
import {
  DATA,
  FRAMES,
  frameLine,
  GONE,
  INDEX,
  indexFrameLine,
  LINKS,
  PATCHES,
  type PointTotals,
  RESTORE,
  SUMS,
  totalsLine,
} from '../frame-table.ts'
import type { ArchiveSink, SinkFile, StoredFile } from '../sink.ts'
import { BLOCK } from '../tar-header.ts'
import { restoreScript } from './restore-script.ts'
import { Spool } from './spool.ts'

/** Of the table of frames. */
const TEXT_FRAME_BYTES = 2 ** 20
const END_OF_TAR = Buffer.alloc(2 * BLOCK)
/** Of increments, for plain tar alone. */
const PLAIN_TARS = { gone: GONE, links: LINKS, patches: PATCHES } as const
export type PlainTar = keyof typeof PLAIN_TARS
const PLAIN_TAR_NAMES = ['gone', 'links', 'patches'] as const

/** The files of a point as they are stored: data at once, the rest from spools behind it. */
export class ArchiveFiles {
  readonly #sink: ArchiveSink
  readonly #signal: AbortSignal
  readonly #compression: Compression
  readonly #dataHash = createHash('sha256')
  readonly #index: Spool
  readonly #table: Spool
  readonly #plain: Readonly<Record<PlainTar, Spool>>
  #dataFile: SinkFile | undefined
  #dataBytes = 0
  #rawBytes = 0
  #indexRawBytes = 0
  #members = 0
  #tableText = ''

  constructor(deps: {
    readonly sink: ArchiveSink
    readonly signal: AbortSignal
    readonly compression: Compression
    readonly scratch: string
  }) {
    this.#sink = deps.sink
    this.#signal = deps.signal
    this.#compression = deps.compression
    this.#index = new Spool(deps.scratch)
    this.#table = new Spool(deps.scratch)
    this.#plain = {
      gone: new Spool(deps.scratch),
      links: new Spool(deps.scratch),
      patches: new Spool(deps.scratch),
    }
  }

  get storedBytes(): number {
    return this.#dataBytes
  }

  /** @param stored a frame as compressed; its bytes are the sink's until this settles */
  async addFrame(stored: Uint8Array, rawBytes: number): Promise<void> {
    this.#dataFile ??= await this.#sink.open(DATA[this.#compression], this.#signal)
    const written = this.#dataFile.write(stored)
    if (this.#dataFile.stored === undefined) this.#dataHash.update(stored)
    const hash = createHash('sha256').update(stored).digest('hex')
    const frame = { offset: this.#dataBytes, bytes: stored.length, rawOffset: this.#rawBytes, rawBytes, hash }
    this.#dataBytes += stored.length
    this.#rawBytes += rawBytes
    await this.#addTable(frameLine(frame))
    await written
  }

  async addIndex(
    stored: Uint8Array,
    chunk: { readonly rawBytes: number; readonly firstPath: BytePath; readonly lines: number },
  ): Promise<void> {
    const hash = createHash('sha256').update(stored).digest('hex')
    const { rawBytes, firstPath } = chunk
    const frame = {
      offset: this.#index.bytes,
      bytes: stored.length,
      rawOffset: this.#indexRawBytes,
      rawBytes,
      hash,
      firstPath,
    }
    this.#indexRawBytes += rawBytes
    this.#members += chunk.lines
    await this.#index.append(stored)
    await this.#addTable(indexFrameLine(frame))
  }

  async addPlain(tar: PlainTar, tarBytes: Uint8Array): Promise<void> {
    await this.#plain[tar].append(await compressFrame(tarBytes))
  }

  /** Stores what is left. @returns every file of the point, `sums` itself last */
  async finish(
    totals: Pick<PointTotals, 'contentBytes' | 'problems' | 'bases' | 'image'>,
  ): Promise<{ readonly files: readonly StoredFile[]; readonly totals: PointTotals }> {
    const files: StoredFile[] = []
    await this.#dataFile?.close()
    const data = { name: DATA[this.#compression], bytes: this.#dataBytes, sha256: this.#dataHash.digest('hex') }
    files.push(this.#dataFile?.stored?.() ?? data)
    for (const tar of PLAIN_TAR_NAMES) {
      if (this.#plain[tar].bytes === 0) continue
      await this.addPlain(tar, END_OF_TAR)
      files.push(await this.#storeSpool(PLAIN_TARS[tar], this.#plain[tar]))
    }
    files.push(await this.#storeSpool(INDEX, this.#index))
    const all: PointTotals = {
      version: this.#plain.patches.bytes > 0 ? 2 : 1,
      compression: this.#compression,
      members: this.#members,
      rawBytes: this.#rawBytes,
      storedBytes: this.#dataBytes,
      ...totals,
    }
    await this.#addTable(totalsLine(all))
    await this.#flushTable()
    files.push(await this.#storeSpool(FRAMES, this.#table))
    files.push(await this.#storeText(RESTORE, restoreScript(totals.bases, totals.image !== undefined)))
    files.push(await this.#storeText(SUMS, files.map(({ name, sha256 }) => `${sha256}  ${name}\n`).join('')))
    return { files, totals: all }
  }

  close(): void {
    for (const spool of [this.#index, this.#table, ...Object.values(this.#plain)]) spool.close()
  }

  async #addTable(line: string): Promise<void> {
    this.#tableText += line
    if (this.#tableText.length >= TEXT_FRAME_BYTES) await this.#flushTable()
  }

  async #flushTable(): Promise<void> {
    const text = this.#tableText
    this.#tableText = ''
    await this.#table.append(await compressFrame(Buffer.from(text)))
  }

  async #storeSpool(name: string, spool: Spool): Promise<StoredFile> {
    const file = await this.#sink.open(name, this.#signal)
    const sha256 = await spool.copyTo(file)
    return file.stored?.() ?? { name, bytes: spool.bytes, sha256 }
  }

  async #storeText(name: string, text: string): Promise<StoredFile> {
    const bytes = Buffer.from(text)
    const file = await this.#sink.open(name, this.#signal)
    await file.write(bytes)
    await file.close()
    return file.stored?.() ?? { name, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
  }
}
