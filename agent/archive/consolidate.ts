import { createHash } from 'node:crypto'
import { closeSync } from 'node:fs'
import { FleetError } from '../../shared/errors.ts'
import { release } from '../native/release.ts'
import { ZstdCompressor } from '../native/zstd.ts'
import { type BytePath, displayPath } from './byte-path.ts'
import type { Chain, ChainMember } from './chain.ts'
import { compressFrame } from './compression.ts'
import { type Member, memberLine } from './member.ts'
import { ComposedContent } from './read/composed-content.ts'
import { type Extent, MAX_EXTENTS } from './read/pax-fields.ts'
import { StreamReader } from './read/stream-reader.ts'
import { type ChainTars, tarsOf } from './read/tar-bytes.ts'
import { readEntry } from './read/tar-parser.ts'
import type { ArchiveSink } from './sink.ts'
import { BLOCK, FLAGS, HeaderEncoder, type HeaderFields, paddingOf, paxRecord } from './tar-header.ts'
import { ArchiveFiles } from './write/archive-files.ts'
import { encodeMap, sparseHeader } from './write/hole-map.ts'
import { type IndexChunk, IndexText } from './write/index-text.ts'
import { letWritersGo } from './write/kept.ts'
import { LinkTable } from './write/link-table.ts'
import { DEFAULT_LEVEL, INDEX_FRAME_BYTES, INDEX_MAX_BYTES } from './write/piece-store.ts'
import { openUnlinked } from './write/spool.ts'
import type { ArchiveWatch, WrittenArchive } from './write-archive.ts'

const FRAME_BYTES = 4 * 2 ** 20
const TOLD_BYTES = 2 ** 24
const NO_MAP = Buffer.alloc(0)
const ATTRIBUTE = /^SCHILY\.(xattr|acl)/
const HOLES = /^GNU\.sparse\.(major|minor|realsize)$/

export interface ConsolidateRequest {
  readonly chain: Chain
  readonly sink: ArchiveSink
  readonly scratch: string
}

/**
 * Makes one full archive out of a chain, from its archives alone: members are copied with their headers, and what is hidden
 * by later ones is left. Content is not hashed again: the hash of the index stays with it, so damage cannot hide.
 * @throws corrupt, cancelled, what the sink tells
 */
export async function consolidate(request: ConsolidateRequest, watch: ArchiveWatch): Promise<WrittenArchive> {
  const { chain, sink, scratch } = request
  const { signal } = watch
  if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
  letWritersGo()
  const compression = chain.points.at(-1)?.table.totals.compression ?? 'zstd'
  const files = new ArchiveFiles({ sink, scratch, compression, signal })
  const linkSpillFd = openUnlinked(scratch)
  try {
    using copying = new MemberCopy(chain, files, watch, { compression, linkSpillFd })
    for await (const found of chain.members('', signal)) await copying.add(found)
    const { contentBytes, problems } = await copying.finish()
    const image = chain.points.at(-1)?.table.totals.image
    const stored = await files.finish({ contentBytes, problems, bases: [], image })
    if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
    await sink.commit()
    return { ...stored, problems: [], large: undefined }
  } catch (error) {
    await sink.abort()
    throw error
  } finally {
    closeSync(linkSpillFd)
    files.close()
  }
}

class MemberCopy implements Disposable {
  readonly #chain: Chain
  readonly #files: ArchiveFiles
  readonly #watch: ArchiveWatch
  readonly #compression: 'zstd' | 'none'
  readonly #sources: ChainTars
  readonly #links: LinkTable
  readonly #encoder = new HeaderEncoder()
  readonly #frames = new ZstdCompressor({ level: DEFAULT_LEVEL, maxBytes: FRAME_BYTES })
  readonly #index = new ZstdCompressor({ level: DEFAULT_LEVEL, maxBytes: INDEX_MAX_BYTES })
  readonly #frame = Buffer.allocUnsafeSlow(FRAME_BYTES)
  #used = 0
  #number = 0
  #start = 0
  readonly #lines = new IndexText(INDEX_FRAME_BYTES, (chunk) => {
    this.#fullIndex = chunk
  })
  /** To be stored before the next line comes. */
  #fullIndex: IndexChunk | undefined
  #contentBytes = 0
  #toldBytes = 0
  #problems = 0
  #copied = 0

  constructor(
    chain: Chain,
    files: ArchiveFiles,
    watch: ArchiveWatch,
    options: { readonly compression: 'zstd' | 'none'; readonly linkSpillFd: number },
  ) {
    this.#chain = chain
    this.#files = files
    this.#watch = watch
    this.#compression = options.compression
    this.#sources = tarsOf(chain.points, watch.signal)
    this.#links = new LinkTable(options.linkSpillFd)
  }

  async add({ member, layer }: ChainMember): Promise<void> {
    const { signal } = this.#watch
    if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
    if (member.patch !== undefined) return this.#addComposed({ member, layer })
    const first = this.#firstName(member)
    if (first !== undefined) return this.#addLink(member, first)
    const source = await this.#sourceOf({ member, layer })
    const reader = this.#sources.all[layer]
    if (reader === undefined) throw new FleetError('internal', 'no such point in the chain')
    const header = await reader.read(source.offset, source.dataOffset - source.offset)
    const named = source.path === member.path ? header : this.#renamed(header, member)
    const place = await this.#putHeader(named)
    const stored = source.storedSize + paddingOf(source.storedSize)
    for await (const piece of reader.pieces(source.dataOffset, stored)) await this.#put(piece)
    this.#contentBytes += source.storedSize
    if (member.links > 1) this.#remember(member, place.offset)
    await this.#line({ ...source, path: member.path, links: member.links, ...place })
  }

  /** A file that lies in several archives becomes one member, hashed anew: what it is made of is compared with its own hashes meanwhile. */
  async #addComposed({ member, layer }: ChainMember): Promise<void> {
    const content = await ComposedContent.open(this.#chain, { member, layer }, this.#sources.all, this.#watch.signal)
    const extents = joined(content.runs)
    if (extents.length > MAX_EXTENTS)
      throw new FleetError('too_large', `member '${displayPath(member.path)}': it has more holes than a map may name`)
    const holes = extents.length !== 1 || extents[0]?.size !== member.size
    const map = holes ? encodeMap(extents, member.size) : NO_MAP
    const storedSize = extents.reduce((sum, { size }) => sum + size, map.length)
    const stored = await this.#sources.all[layer]?.read(member.offset, member.dataOffset - member.offset)
    const header = rewritten(stored ?? NO_MAP, member, (records) => ({
      ...(holes ? sparseHeader(member.path, member.size, records) : { name: `./${member.path}`, records }),
      size: storedSize,
    }))
    const place = await this.#putHeader(this.#encoder.encode(header))
    const hash = createHash('sha256').update(map)
    await this.#put(map)
    for await (const { bytes } of content.pieces()) {
      hash.update(bytes)
      await this.#put(bytes)
      this.#contentBytes += bytes.length
      if (this.#watch.signal.aborted) throw new FleetError('cancelled', 'cancelled')
      this.#tell()
    }
    await this.#put(Buffer.alloc(paddingOf(storedSize)))
    await this.#line({ ...member, ...place, storedSize, holes, patch: undefined, hash: hash.digest('hex') })
  }

  [Symbol.dispose](): void {
    this.#frames[Symbol.dispose]()
    this.#index[Symbol.dispose]()
    this.#sources[Symbol.dispose]()
    release(this.#frame)
  }

  async finish(): Promise<{ readonly contentBytes: number; readonly problems: number }> {
    await this.#put(Buffer.alloc(2 * BLOCK))
    await this.#endFrame()
    this.#lines.flush()
    await this.#storeIndex()
    // What was left out altogether has no member; the newest point says how much of its tree was not read well.
    const { problems } = this.#chain.points.at(-1)?.table.totals ?? { problems: 0 }
    return { contentBytes: this.#contentBytes, problems: Math.max(this.#problems, problems) }
  }

  async #addLink(member: Member, first: { readonly path: BytePath; readonly offset: number }): Promise<void> {
    const { mode, uid, gid, mtime } = member
    const device = { major: 0, minor: 0 }
    const link = `./${first.path}`
    const fields = {
      name: `./${member.path}`,
      flag: FLAGS.hardlink,
      mode,
      uid,
      gid,
      mtime,
      size: 0,
      link,
      ...device,
      records: [],
    }
    const header = this.#encoder.encode(fields)
    const place = await this.#putHeader(header)
    const repeated = { type: 'hardlink', storedSize: 0, hash: undefined, holes: false } as const
    await this.#line({ ...member, ...repeated, link: first.path, linkOffset: first.offset, ...place })
  }

  /** Names of one file share inode and ctime, whichever archives of the chain hold them. */
  #firstName(member: Member): { readonly path: BytePath; readonly offset: number } | undefined {
    if (member.links < 2 || member.type === 'directory') return undefined
    const known = this.#links.find(member.inode)
    const stamp = `${member.ctime} `
    return known?.path.startsWith(stamp) ? { path: known.path.slice(stamp.length), offset: known.offset } : undefined
  }

  #remember(member: Member, offset: number): void {
    if (this.#links.find(member.inode) === undefined)
      this.#links.remember(member.inode, { path: `${member.ctime} ${member.path}`, offset })
  }

  async #sourceOf({ member, layer }: ChainMember): Promise<Member> {
    if (member.type !== 'hardlink') return member
    const source = await this.#chain.points[layer]?.find(member.link ?? '', this.#watch.signal)
    if (source !== undefined && source.offset === member.linkOffset) return source
    throw new FleetError(
      'corrupt',
      `member '${displayPath(member.path)}': the file that it repeats is not in the archive`,
    )
  }

  /** The header of a file that another of its names brought into the archive. */
  #renamed(header: Buffer, member: Member): Buffer {
    const named = rewritten(header, member, (records, size) => ({ name: `./${member.path}`, records, size }), true)
    return Buffer.from(this.#encoder.encode(named))
  }

  async #putHeader(header: Buffer): Promise<Pick<Member, 'offset' | 'frame' | 'dataOffset'>> {
    await this.#keepWhole(header.length)
    const place = { offset: this.#start + this.#used, frame: this.#number }
    await this.#put(header)
    return { ...place, dataOffset: this.#start + this.#used }
  }

  async #line(member: Member): Promise<void> {
    this.#lines.add(member.path, memberLine(member))
    this.#copied += 1
    if (member.problem !== undefined) this.#problems += 1
    await this.#storeIndex()
    this.#tell()
  }

  #tell(): void {
    if (this.#contentBytes - this.#toldBytes < TOLD_BYTES) return
    this.#toldBytes = this.#contentBytes
    this.#watch.progress({ phase: 'consolidate', files: this.#copied, bytes: this.#contentBytes })
  }

  async #storeIndex(): Promise<void> {
    const full = this.#fullIndex
    if (full === undefined) return
    this.#fullIndex = undefined
    const text = Buffer.from(full.text.buffer)
    const isLong = text.length > INDEX_MAX_BYTES
    const stored = await (isLong ? compressFrame(text) : this.#index.compress(text))
    await this.#files.addIndex(stored, { ...full, rawBytes: text.length })
    release(text)
  }

  async #keepWhole(bytes: number): Promise<void> {
    if (this.#used + bytes > FRAME_BYTES && bytes <= FRAME_BYTES) await this.#endFrame()
  }

  async #put(bytes: Buffer): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      if (this.#used === FRAME_BYTES) await this.#endFrame()
      const copied = bytes.copy(this.#frame, this.#used, done)
      this.#used += copied
      done += copied
    }
  }

  async #endFrame(): Promise<void> {
    if (this.#used === 0) return
    const raw = this.#frame.subarray(0, this.#used)
    await this.#files.addFrame(this.#compression === 'zstd' ? await this.#frames.compress(raw) : raw, raw.length)
    this.#start += this.#used
    this.#number += 1
    this.#used = 0
  }
}

/** A stored header with another name or content. @param keepsHoles whether what it says of its holes stays */
function rewritten(
  header: Buffer,
  member: Member,
  rest: (records: readonly Buffer[], storedSize: number) => Pick<HeaderFields, 'name' | 'records' | 'size'>,
  keepsHoles = false,
): HeaderFields {
  const pieces = [header]
  const entry = readEntry(new StreamReader(() => pieces.pop()))
  if (entry === undefined)
    throw new FleetError('corrupt', `member '${displayPath(member.path)}': its header is damaged`)
  const kept = [...entry.attributes].filter(([key]) => ATTRIBUTE.test(key) || (keepsHoles && HOLES.test(key)))
  const records = kept.map(([key, value]) => paxRecord(key, value))
  return { ...entry, flag: FLAGS[entry.type], mtime: member.mtime, ...rest(records, entry.storedSize) }
}

/** Extents that follow each other as one. */
function joined(runs: readonly Extent[]): readonly Extent[] {
  const all: { offset: number; size: number }[] = []
  for (const { offset, size } of runs) {
    const last = all.at(-1)
    if (last !== undefined && last.offset + last.size === offset) last.size += size
    else all.push({ offset, size })
  }
  return all
}
