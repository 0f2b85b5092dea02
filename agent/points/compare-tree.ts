import { constants } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { bytesOf, displayPath, isWithin, nameOf, parentOf } from '../archive/byte-path.ts'
import type { Chain, ChainMember } from '../archive/chain.ts'
import type { Member } from '../archive/member.ts'
import { ComposedContent } from '../archive/read/composed-content.ts'
import { type ChainTars, tarsOf } from '../archive/read/tar-bytes.ts'
import type { ArchiveWatch } from '../archive/write-archive.ts'
import { DirectoryReader } from '../native/directory-entries.ts'
import { cString, libc } from '../native/libc.ts'
import { close, howBeneath, openBeneath, tryOpenBeneath } from '../native/paths.ts'
import { Status } from '../native/status.ts'
import { AttributeComparison } from './compare-attributes.ts'
import { FileReading, hashAsStored, isAsComposed } from './stored-hash.ts'

const MAX_TOLD = 100
/** Members looked at before others get a turn on this thread. */
const BATCH = 200
const PROGRESS_MS = 200
const READ_DIRECTORY = howBeneath(constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
const READ_FILE = howBeneath(constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
const MAX_LINK_BYTES = 4_096

export interface TreeDifferences {
  readonly count: number
  /** The first hundred, for people. */
  readonly paths: readonly string[]
}

/**
 * Compares what stands below a directory with an archive, by a walk of its own: kind, size, mode, owner, time and link as its index tells
 * them, attributes as its headers do, and the content read again. @param rootFd open for reading
 */
export async function compareTree(chain: Chain, rootFd: number, watch: ArchiveWatch): Promise<TreeDifferences> {
  const walk = new ComparingWalk(chain, rootFd, watch)
  try {
    let looked = 0
    for await (const found of chain.members('', watch.signal)) {
      await walk.compare(found)
      looked += 1
      if (looked % BATCH === 0) await turn()
    }
    return walk.finish()
  } finally {
    walk.close()
  }
}

interface Level {
  readonly path: string
  readonly fd: number
}

class ComparingWalk {
  readonly #chain: Chain
  readonly #rootFd: number
  readonly #watch: ArchiveWatch
  readonly #sources: ChainTars
  readonly #levels: Level[] = []
  readonly #status = new Status()
  readonly #reader = new DirectoryReader()
  readonly #attributes = new AttributeComparison()
  readonly #reading = new FileReading((bytes) => {
    this.#watch.signal.throwIfAborted()
    this.#bytes += bytes
    this.#tell()
  })
  readonly #paths: string[] = []
  #count = 0
  #members = 0
  #standing = 1
  #bytes = 0
  #toldMs = 0

  constructor(chain: Chain, rootFd: number, watch: ArchiveWatch) {
    this.#chain = chain
    this.#rootFd = rootFd
    this.#watch = watch
    this.#sources = tarsOf(chain.points, watch.signal)
  }

  async compare({ member, layer }: ChainMember): Promise<void> {
    this.#watch.signal.throwIfAborted()
    this.#members += 1
    if (!(await this.#isAsTold(member, layer))) this.#differs(member.path)
    this.#tell()
  }

  finish(): TreeDifferences {
    // What is there and in no index: some directory has more entries than members.
    if (this.#count === 0 && this.#standing !== this.#members) this.#differs('')
    return { count: this.#count, paths: this.#paths }
  }

  close(): void {
    for (const { fd } of this.#levels) close(fd)
    this.#levels.length = 0
    this.#sources[Symbol.dispose]()
  }

  #differs(path: string): void {
    this.#count += 1
    if (this.#paths.length < MAX_TOLD) this.#paths.push(displayPath(path))
  }

  #tell(): void {
    const nowMs = performance.now()
    if (nowMs - this.#toldMs < PROGRESS_MS) return
    this.#toldMs = nowMs
    this.#watch.progress({ phase: 'compare', files: this.#members, bytes: this.#bytes })
  }

  async #isAsTold(member: Member, layer: number): Promise<boolean> {
    const parentFd = this.#parentOf(member)
    if (parentFd === undefined) return false
    const name = member.path === '' ? cString('.') : cString(bytesOf(nameOf(member.path)))
    const status = this.#status.readName(parentFd, name)
    if (status === undefined || !sameMetadata(member, status)) return false
    if (member.type === 'directory' && !this.#enter(member, parentFd, name)) return false
    // Other names of one file say nothing of it.
    if (member.type !== 'hardlink' && !(await this.#hasAttributes(member, layer, parentFd, name))) return false
    if (member.type === 'directory') return true
    if (member.type === 'symlink') return readLink(parentFd, name) === member.link
    if (member.type === 'hardlink') return this.#isSameFile(member, status.inode)
    return member.type !== 'file' || this.#hasContent(member, layer, parentFd, name)
  }

  async #hasAttributes(member: Member, layer: number, parentFd: number, name: Buffer): Promise<boolean> {
    const archive = this.#sources.all[layer]
    const path = Buffer.concat([Buffer.from(`/proc/self/fd/${parentFd}/`), name])
    return archive !== undefined && this.#attributes.isAsStored(member, archive, path)
  }

  #parentOf({ path }: Member): number | undefined {
    if (path === '') return this.#rootFd
    for (let top = this.#levels.at(-1); top !== undefined && !isWithin(path, top.path); top = this.#levels.at(-1)) {
      close(top.fd)
      this.#levels.pop()
    }
    const top = this.#levels.at(-1)
    return top?.path === parentOf(path) ? top.fd : undefined
  }

  #enter({ path }: Member, parentFd: number, name: Buffer): boolean {
    const fd = tryOpenBeneath(parentFd, name, READ_DIRECTORY)
    if (fd < 0) return false
    this.#levels.push({ path, fd })
    this.#reader.forEach(fd, () => {
      this.#standing += 1
    })
    return true
  }

  #isSameFile({ link }: Member, inode: number): boolean {
    if (link === undefined || link.length > MAX_LINK_BYTES) return link !== undefined
    // Lost names of one file are what is looked for, so the other name is looked up as it is.
    const fd = tryOpenBeneath(this.#rootFd, cString(bytesOf(link)), READ_FILE)
    if (fd < 0) return this.#isSameOther(link, inode)
    try {
      return new Status().readDescriptor(fd).inode === inode
    } finally {
      close(fd)
    }
  }

  /** A second name of what cannot be opened for reading: a link, a device. */
  #isSameOther(link: string, inode: number): boolean {
    const parent = parentOf(link)
    const fd = openBeneath(this.#rootFd, parent === '' ? '.' : Buffer.from(bytesOf(parent)), constants.O_RDONLY)
    try {
      return new Status().readName(fd, cString(bytesOf(nameOf(link))))?.inode === inode
    } finally {
      close(fd)
    }
  }

  async #hasContent(member: Member, layer: number, parentFd: number, name: Buffer): Promise<boolean> {
    if (member.hash === undefined) return true
    const fd = tryOpenBeneath(parentFd, name, READ_FILE)
    const archive = this.#sources.all[layer]
    if (fd < 0 || archive === undefined) return false
    try {
      if (member.patch === undefined) return (await hashAsStored(fd, member, archive, this.#reading)) === member.hash
      const { signal } = this.#watch
      const content = await ComposedContent.open(this.#chain, { member, layer }, this.#sources.all, signal)
      return await isAsComposed(fd, content, this.#reading)
    } finally {
      close(fd)
    }
  }
}

const KINDS: Readonly<Partial<Record<Member['type'], string>>> = { hardlink: '' }

function sameMetadata(member: Member, status: Status): boolean {
  const kind = KINDS[member.type] ?? member.type
  if (kind !== '' && status.kind !== kind) return false
  if (status.uid !== member.uid || status.gid !== member.gid || status.modified !== member.mtime) return false
  if (member.type !== 'symlink' && status.permissions !== (member.mode & 0o7777) && status.kind !== 'symlink')
    return false
  return member.type !== 'file' || status.sizeBytes === member.size
}

function readLink(parentFd: number, name: Buffer): string {
  const text = Buffer.alloc(MAX_LINK_BYTES)
  const length = libc().readlinkat(parentFd, name, text, text.length)
  return length < 0 ? '' : text.toString('latin1', 0, length)
}
