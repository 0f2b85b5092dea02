import { type CString, cString } from '../../native/libc.ts'
import { Status } from '../../native/status.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import { type BytePath, isWithin, nameOf, parentOf } from '../byte-path.ts'
import { FLAGS, HeaderEncoder, type HeaderFields } from '../tar-header.ts'
import type { AttributeRecords } from './attribute-records.ts'
import type { LinkTable } from './link-table.ts'
import type { PreviousEntries, PreviousEntry } from './previous-entries.ts'
import type { Realms } from './realms.ts'
import { type Level, TreeLevels } from './tree-levels.ts'
import { findFile } from './written-files.ts'

/** Of tar that is told at once. */
const PIECE_BYTES = 2 ** 16

export interface LinksParts {
  readonly rootFd: number
  /** What of files with several names is in the archive. */
  readonly links: LinkTable
  readonly attributes: AttributeRecords
  readonly realms: Realms
  /** All of what the chain holds, or at least its files with several names. */
  readonly previous: PreviousEntries
  readonly tell: (tarBytes: Uint8Array<ArrayBuffer>) => void
  readonly throwIfStopped: () => void
}

/** Whether a line of an index may be of a file with several names. */
export function mayHaveNames(line: string): boolean {
  return line.includes('"k":')
}

/**
 * For plain tar: the names that an increment does not hold, as nothing changed there, of files that it holds under other names.
 * A reader of the index knows by inode and ctime that they are one file; tar would leave the file of the archive before under
 * them, perhaps with what was read badly then. Each is a hard link to the name in the archive, and each directory of one stands
 * behind what is in it, as making a link moves its mtime.
 */
export class LinksTar {
  readonly #parts: LinksParts
  readonly #levels: TreeLevels
  readonly #status = new Status()
  readonly #encoder = new HeaderEncoder()
  readonly #piece = Buffer.alloc(PIECE_BYTES)
  #used = 0

  constructor(parts: LinksParts) {
    this.#parts = parts
    this.#levels = new TreeLevels(parts.realms)
  }

  run(): void {
    const { previous, throwIfStopped } = this.#parts
    try {
      if (this.#levels.enter(this.#parts.rootFd, '') !== 'entered') return
      for (let entry = previous.current; entry !== undefined; entry = previous.current) {
        throwIfStopped()
        this.#visit(entry)
        previous.advance()
      }
      this.#leaveUntil(undefined)
      this.#flush()
    } finally {
      this.#levels.close()
    }
  }

  #visit(entry: PreviousEntry): void {
    const { path, isDirectory, flawed, inode } = entry
    const { links, realms } = this.#parts
    // What was flawed is in the archive under each of its names that was.
    if (isDirectory || flawed) return
    if (realms.keepsNumbers && !links.has(inode)) return
    this.#leaveUntil(path)
    const level = this.#enter(parentOf(path))
    if (level === undefined) return
    const first = this.#sameFile(entry, level)
    if (first === undefined || first === path) return
    this.#put({ name: `./${path}`, flag: FLAGS.hardlink, link: `./${first}` })
    level.written = true
  }

  /** @returns the name in the archive of the file that has this name in the tree and had it unchanged */
  #sameFile({ path, inode, ctime }: PreviousEntry, level: Level): BytePath | undefined {
    try {
      if (this.#status.readName(level.fd, terminated(nameOf(path))) === undefined) return undefined
    } catch (error) {
      // The walk has told of it, or it came to be so since.
      if (errorCodeOf(error) === undefined) throw error
      return undefined
    }
    const now = this.#parts.realms.identify(this.#status)
    const file = now.inode === inode ? findFile(this.#parts.links, this.#status, ctime) : undefined
    return file?.path
  }

  /** From the directory that is open down to this one, which is at or below it. */
  #enter(directory: BytePath): Level | undefined {
    for (let level = this.#levels.top; level !== undefined; level = this.#levels.top) {
      if (level.path === directory) return level
      const start = level.path === '' ? 0 : level.path.length + 1
      const slash = directory.indexOf('/', start)
      const name = slash < 0 ? directory.slice(start) : directory.slice(start, slash)
      if (this.#levels.enter(level.fd, name) !== 'entered') return undefined
    }
    return undefined
  }

  /** Leaves the directories that do not hold `path`, or all. */
  #leaveUntil(path: BytePath | undefined): void {
    for (let level = this.#levels.top; level !== undefined; level = this.#levels.top) {
      if (path !== undefined && isWithin(path, level.path)) return
      if (level.written) this.#directory(level)
      this.#levels.leave()
    }
  }

  #directory({ path, fd }: Level): void {
    this.#status.readDescriptor(fd)
    this.#put({
      name: path === '' ? './' : `./${path}/`,
      flag: FLAGS.directory,
      records: this.#parts.attributes.ofDescriptor(fd),
    })
  }

  #put(fields: Pick<HeaderFields, 'name' | 'flag'> & Partial<HeaderFields>): void {
    const header = this.#encoder.encode({
      mode: this.#status.permissions,
      uid: this.#status.uid,
      gid: this.#status.gid,
      mtime: this.#status.modified,
      size: 0,
      link: '',
      major: 0,
      minor: 0,
      records: [],
      ...fields,
    })
    if (this.#used + header.length > PIECE_BYTES) this.#flush()
    // Attributes of a directory may be longer than a piece.
    if (header.length > PIECE_BYTES) this.#parts.tell(new Uint8Array(header))
    else this.#used += header.copy(this.#piece, this.#used)
  }

  #flush(): void {
    if (this.#used > 0) this.#parts.tell(new Uint8Array(this.#piece.subarray(0, this.#used)))
    this.#used = 0
  }
}

function terminated(name: BytePath): CString {
  return cString(Buffer.from(name, 'latin1'))
}
