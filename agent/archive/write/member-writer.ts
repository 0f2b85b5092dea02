import { hash } from 'node:crypto'
import { libc } from '../../native/libc.ts'
import { Status } from '../../native/status.ts'
import type { Counters } from '../../tree/counters.ts'
import type { BytePath } from '../byte-path.ts'
import type { LargeFileList } from '../large-file.ts'
import { type Member, type MemberType, memberLine, type Patch, type ProblemReason, storedName } from '../member.ts'
import { FLAGS, HeaderEncoder, type HeaderFields, paddingOf } from '../tar-header.ts'
import type { AttributeRecords } from './attribute-records.ts'
import { type Content, type CopiedContent, copyContent } from './content.ts'
import type { FrameFiller } from './frame-filler.ts'
import { encodeMap, findExtents, sparseHeader } from './hole-map.ts'
import type { Identify } from './identity.ts'
import type { LinkTable } from './link-table.ts'
import type { LiveContent } from './live-files.ts'
import { patchTar } from './patch-tar.ts'
import type { FilePatch } from './patches.ts'
import { findFile, rememberFile } from './written-files.ts'

const LINK_BYTES = 4_096
const NO_RECORDS: readonly Buffer[] = []
const EMPTY_HASH = hash('sha256', '')

export interface WriterParts {
  readonly frames: FrameFiller
  readonly links: LinkTable
  readonly attributes: AttributeRecords
  readonly counters: Counters
  readonly identify: Identify
  /** A file that changed then or later may change while it is read and look the same. */
  readonly untouchedSinceMs: number | undefined
  /** Takes one line of the index, newline included. */
  readonly line: (path: BytePath, line: string) => void
  readonly problem: (path: BytePath, reason: ProblemReason) => void
  /** Takes what plain tar needs to apply a patch. */
  readonly patched: (tarBytes: Uint8Array<ArrayBuffer>) => void
  /** Gets those that nothing is wrong with. */
  readonly large: LargeFileList | undefined
}

type OpenFile = Pick<Content, 'fd' | 'living'>

/** Puts one entry of the tree after the other into the tar, and its line into the index. One a thread. */
export class MemberWriter {
  readonly #parts: WriterParts
  readonly #encoder = new HeaderEncoder()
  readonly #after = new Status()
  #namesElsewhere = 0
  #patches = 0

  constructor(parts: WriterParts) {
    this.#parts = parts
  }

  /** How many names the files in the archive have that are not in it. */
  get namesElsewhere(): number {
    return this.#namesElsewhere
  }

  directory(path: BytePath, fd: number, status: Status): void {
    const place = this.#header(status, {
      name: path === '' ? './' : `./${path}/`,
      flag: FLAGS.directory,
      records: this.#parts.attributes.ofDescriptor(fd),
    })
    this.#line(path, 'directory', status, { ...place, size: 0 })
  }

  /** @param status of the descriptor itself */
  file(path: BytePath, { fd, living }: OpenFile, status: Status): void {
    if (this.#repeatsLink(path, status)) return
    const size = status.sizeBytes
    const extents = status.allocatedBytes < size ? findExtents(fd, size) : undefined
    const records = this.#parts.attributes.ofDescriptor(fd)
    const offset = this.#parts.frames.offset
    if (extents === undefined) {
      const place = this.#header(status, { name: `./${path}`, flag: FLAGS.file, size, records })
      const copied = this.#copy({ fd, extents: [{ offset: 0, size }], map: undefined, living })
      this.#fileLine(path, fd, status, { place, size, storedSize: size, holes: false, copied })
    } else {
      const map = encodeMap(extents, size)
      const storedSize = extents.reduce((sum, extent) => sum + extent.size, map.length)
      const place = this.#header(status, { ...sparseHeader(path, size, records), flag: FLAGS.file, size: storedSize })
      const copied = this.#copy({ fd, extents, map, living })
      this.#fileLine(path, fd, status, { place, size, storedSize, holes: true, copied })
    }
    this.#remember(path, status, offset)
  }

  /** What changed in a file with one name, since the archives below. @param status of the descriptor itself */
  patch(path: BytePath, { fd, living }: OpenFile, status: Status, { ranges, depth, over }: FilePatch): void {
    this.#patches += 1
    const patch = { number: this.#patches, depth, over }
    const size = status.sizeBytes
    const map = encodeMap(ranges, size)
    const storedSize = ranges.reduce((sum, range) => sum + range.size, map.length)
    const records = this.#parts.attributes.ofDescriptor(fd)
    const name = storedName({ path, patch })
    const place = this.#header(status, { ...sparseHeader(name, size, records), flag: FLAGS.file, size: storedSize })
    const copied = this.#copy({ fd, extents: ranges, map, living })
    this.#parts.patched(patchTar(path, { name, ranges }))
    this.#fileLine(path, fd, status, { place, size, storedSize, holes: true, patch, copied })
  }

  /** A file with one name whose content has been read, and is what `status` tells of. */
  content(path: BytePath, { bytes, records }: LiveContent, status: Status): void {
    const { frames, counters } = this.#parts
    const size = bytes.length
    const place = this.#header(status, { name: `./${path}`, flag: FLAGS.file, size, records })
    frames.put(bytes)
    frames.zeros(paddingOf(size))
    counters.addBytes(size)
    const content = size === 0 ? EMPTY_HASH : hash('sha256', bytes)
    this.#line(path, 'file', status, { ...place, size, storedSize: size, holes: false, hash: content })
  }

  /** A symbolic link, fifo or device node. @returns false when it is no longer what `status` says */
  special(path: BytePath, at: { readonly directoryFd: number; readonly name: Buffer }, status: Status): boolean {
    const { kind } = status
    if (kind !== 'symlink' && kind !== 'fifo' && kind !== 'character' && kind !== 'block') return false
    if (this.#repeatsLink(path, status)) return true
    const link = kind === 'symlink' ? readLink(at.directoryFd, at.name) : ''
    if (link === undefined) return false
    const procPath = Buffer.concat([Buffer.from(`/proc/self/fd/${at.directoryFd}/`), at.name])
    const offset = this.#parts.frames.offset
    const device = kind === 'character' || kind === 'block'
    const place = this.#header(status, {
      name: `./${path}`,
      flag: FLAGS[kind],
      link,
      major: device ? status.specialMajor : 0,
      minor: device ? status.specialMinor : 0,
      records: this.#parts.attributes.ofPath(procPath),
    })
    this.#line(path, kind, status, { ...place, size: 0, ...(kind === 'symlink' ? { link } : {}) })
    this.#remember(path, status, offset)
    return true
  }

  #remember(path: BytePath, status: Status, offset: number): void {
    if (status.links === 1) return
    rememberFile(this.#parts.links, status, { path, offset, changed: this.#parts.identify(status).changed })
    this.#namesElsewhere += status.links - 1
  }

  #repeatsLink(path: BytePath, status: Status): boolean {
    if (status.links === 1) return false
    const first = findFile(this.#parts.links, status, this.#parts.identify(status).changed)
    if (first === undefined) return false
    this.#namesElsewhere -= 1
    const place = this.#header(status, { name: `./${path}`, flag: FLAGS.hardlink, link: `./${first.path}` })
    this.#line(path, 'hardlink', status, {
      ...place,
      size: status.kind === 'file' ? status.sizeBytes : 0,
      link: first.path,
      linkOffset: first.offset,
    })
    return true
  }

  #header(status: Status, fields: Pick<HeaderFields, 'name' | 'flag'> & Partial<HeaderFields>) {
    // Once a member: a spread would cost as much as the header itself.
    const { name, flag, size = 0, link = '', major = 0, minor = 0, records = NO_RECORDS } = fields
    const { permissions: mode, uid, gid, modified: mtime } = status
    const bytes = this.#encoder.encode({ name, flag, mode, uid, gid, size, mtime, link, major, minor, records })
    const { frames } = this.#parts
    frames.keepWhole(bytes.length)
    frames.settle()
    const offset = frames.offset
    const { frame } = frames
    frames.put(bytes)
    return { offset, frame, dataOffset: frames.offset }
  }

  #copy(content: Content): CopiedContent {
    return copyContent(content, this.#parts)
  }

  #fileLine(path: BytePath, fd: number, status: Status, written: WrittenFile): void {
    const { place, size, storedSize, holes, patch, copied } = written
    this.#parts.frames.zeros(paddingOf(storedSize))
    const isTouched = this.#isTouched(status) || this.#changedSince(fd, status)
    const problem = copied.problem ?? (isTouched ? 'changed' : undefined)
    if (problem !== undefined) this.#parts.problem(path, problem)
    else this.#parts.large?.add(path, status, this.#parts.identify(status))
    const { offset, frame, dataOffset } = place
    const hash = copied.hash ?? EMPTY_HASH
    this.#line(path, 'file', status, { offset, frame, dataOffset, size, storedSize, holes, patch, hash, problem })
  }

  #isTouched({ changedMs }: Status): boolean {
    const { untouchedSinceMs } = this.#parts
    return untouchedSinceMs !== undefined && changedMs >= untouchedSinceMs
  }

  /** Whether somebody wrote to the file while it was read: then what was read is of no one moment. */
  #changedSince(fd: number, status: Status): boolean {
    return status.sizeBytes > 0 && !this.#after.readDescriptor(fd).hasSameContentAs(status)
  }

  #line(
    path: BytePath,
    type: MemberType,
    status: Status,
    rest: Pick<Member, 'offset' | 'frame' | 'dataOffset' | 'size'> & Partial<Member>,
  ): void {
    const { inode, changed } = this.#parts.identify(status)
    const { offset, frame, dataOffset, size, storedSize = 0, hash, link, linkOffset } = rest
    const { holes = false, patch, problem } = rest
    const line = memberLine({
      path,
      type,
      offset,
      frame,
      dataOffset,
      storedSize,
      size,
      mode: status.permissions,
      uid: status.uid,
      gid: status.gid,
      mtime: status.modified,
      ctime: changed,
      inode,
      links: status.links,
      hash,
      link,
      linkOffset,
      holes,
      patch,
      problem,
    })
    this.#parts.line(path, line)
    this.#parts.counters.addFiles(1)
  }
}

interface WrittenFile {
  readonly place: { readonly offset: number; readonly frame: number; readonly dataOffset: number }
  readonly size: number
  readonly storedSize: number
  readonly holes: boolean
  readonly patch?: Patch
  readonly copied: CopiedContent
}

function readLink(directoryFd: number, name: Buffer): BytePath | undefined {
  const text = Buffer.alloc(LINK_BYTES)
  const length = libc().readlinkat(directoryFd, name, text, LINK_BYTES)
  return length < 0 ? undefined : text.toString('latin1', 0, length)
}
