import { type BytePath, isWithin } from '../byte-path.ts'
import { parseJson, pathOfLine } from '../member.ts'
import { isSettled } from './identity.ts'

/** What a scan compares. */
export interface PreviousEntry {
  readonly path: BytePath
  readonly inode: number
  readonly ctime: string
  readonly mtime: string
  readonly size: number
  readonly isDirectory: boolean
  /** It is a file with one name. */
  readonly isPlainFile: boolean
  /** How many patches lie over its content. */
  readonly patches: number
  /** SHA-256 of the content as stored, for files. */
  readonly hash: string | undefined
  /** It was not read well then, or may have changed behind it: so it is read again whatever its times say. */
  readonly flawed: boolean
  /** It was read badly, or while it changed. */
  readonly hasProblem: boolean
}

const NEWLINE = 0x0a

/** The members of a chain in the order of the index, from lines that come in pieces. */
export class PreviousEntries {
  readonly #take: () => Buffer | undefined
  readonly #isOfInterest: (line: string) => boolean
  #piece: Buffer = Buffer.alloc(0)
  #at = 0
  #ended = false
  #current: PreviousEntry | undefined

  /**
   * @param take the next piece, of whole lines; undefined at the end
   * @param isOfInterest lines of which it is not true are passed over unread
   */
  constructor(take: () => Buffer | undefined, isOfInterest: (line: string) => boolean = () => true) {
    this.#take = take
    this.#isOfInterest = isOfInterest
    this.advance()
  }

  get current(): PreviousEntry | undefined {
    return this.#current
  }

  advance(): void {
    let line = this.#nextLine()
    while (line !== undefined && !this.#isOfInterest(line)) line = this.#nextLine()
    this.#current = line === undefined ? undefined : parseEntry(line)
  }

  skipBelow(path: BytePath): void {
    while (this.#current !== undefined && isWithin(this.#current.path, path)) this.advance()
  }

  #nextLine(): string | undefined {
    while (this.#at >= this.#piece.length) {
      const piece = this.#ended ? undefined : this.#take()
      if (piece === undefined) {
        this.#ended = true
        return undefined
      }
      this.#piece = piece
      this.#at = 0
    }
    const newline = this.#piece.indexOf(NEWLINE, this.#at)
    const end = newline < 0 ? this.#piece.length : newline
    const line = this.#piece.toString('utf8', this.#at, end)
    this.#at = end + 1
    return line
  }
}

function parseEntry(text: string): PreviousEntry {
  const line = parseJson(text)
  const path = pathOfLine(line)
  // as: an object with a path; a field of another type than ours differs from every status, which reads the file again
  const { t, i, c, m, s, h, x, k, patch } = line as Readonly<Record<string, unknown>>
  return {
    path,
    inode: Number(i),
    ctime: String(c),
    mtime: String(m),
    size: Number(s),
    isDirectory: t === 'd',
    isPlainFile: t === 'f' && k === undefined,
    patches: Array.isArray(patch) ? Number(patch[1]) : 0,
    hash: typeof h === 'string' ? h : undefined,
    flawed: x !== undefined || !isSettled(String(c)),
    hasProblem: x !== undefined,
  }
}
