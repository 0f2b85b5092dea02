import { readSync } from 'node:fs'
import { LARGE_BYTES } from '../native/reflink.ts'

/**
 * A listing of a tree is a record an entry: its path from `.` on, NUL, what is known of it, NUL. The latter begins with the letter of
 * its kind and its number; a record that begins with a question mark tells of an entry that may change again and look the same
 * (drivers/tree/list-tree.ts), so that no record of a later listing is equal to it.
 */
export interface ListedChange {
  /** Below the tree's root, one character a byte (latin1); '' is the root. */
  readonly path: string
  /** It, and everything below it, before or now. */
  readonly subtree: boolean
  /** Of a directory that was there before and is now: its number. */
  readonly inode?: number
  /**
   * No directory, now or at any time between both listings: the directory that it is in has the names that it had, and so have those above
   * it. It certainly differs.
   */
  readonly rewritten?: true
  /** A large file, before and now: what the chain holds of it is worth a look. */
  readonly large?: true
}

/** What would be read of the files that differ. */
export interface ListedFiles {
  readonly bytes: number
  /** Of the largest. */
  readonly mostBytes: number
  /** The latest time of change, in milliseconds since the epoch. */
  readonly changedMs: number
}

export const NO_FILES: ListedFiles = { bytes: 0, mostBytes: 0, changedMs: 0 }

export function filesOfBoth(some: ListedFiles, others: ListedFiles): ListedFiles {
  return {
    bytes: some.bytes + others.bytes,
    mostBytes: Math.max(some.mostBytes, others.mostBytes),
    changedMs: Math.max(some.changedMs, others.changedMs),
  }
}

/** More is not worth a list; what one costs in memory bounds it too. */
export const MAX_CHANGES = 20_000
/** Entries that came in another order, and so wait for their counterparts. */
const MAX_WAITING = 20_000
/** How far a record is looked for that others may have been put before. */
const AHEAD_RECORDS = 64
/** Of both sides in memory. No record is longer: a path has 4 KiB in the kernel, some more by way of directories. */
const WINDOW_BYTES = 2 ** 18
const FINE_BYTES = 64
const NUL = 0
const DOT = 0x2e
const QUESTION = 0x3f
const DIRECTORY = 'd'
const FILE = 'f'

interface Entry {
  readonly path: string
  readonly told: string
  /** Of its record. */
  readonly bytes: number
}

/**
 * Compares a listing that comes in chunks with a part of an older one in a file. What is equal is compared as bytes and never parsed.
 * Entries may come in another order. Memory is bounded; what differs too much is not followed.
 */
export class ListingDiff {
  readonly #fd: number
  readonly #end: number
  readonly #changes: ListedChange[] = []
  /** Seen on one side alone so far. */
  readonly #gone = new Map<string, string>()
  readonly #came = new Map<string, string>()
  #position: number
  readonly #old = new Window()
  readonly #new = new Window()
  #files = NO_FILES
  #isTooMuch = false
  #isEqual = true

  /** @param old where the part lies in the file, which is open for reading and stays so */
  constructor(old: { readonly fd: number; readonly from: number; readonly to: number }) {
    this.#fd = old.fd
    this.#position = old.from
    this.#end = old.to
  }

  /** @param chunk at most 256 KiB; free again when this returns */
  take(chunk: Buffer): void {
    if (this.#isTooMuch) return
    this.#new.append(chunk)
    this.#compare(false)
  }

  /** @returns undefined when too much differs; `isEqual` says that not even the order does */
  finish():
    | { readonly changes: readonly ListedChange[]; readonly files: ListedFiles; readonly isEqual: boolean }
    | undefined {
    if (!this.#isTooMuch) this.#compare(true)
    if (this.#isTooMuch) return undefined
    const changes = [...this.#changes]
    for (const [path, told] of [...this.#gone, ...this.#came]) changes.push({ path, subtree: isDirectory(told) })
    for (const told of this.#came.values()) this.#files = withFile(this.#files, told)
    return changes.length > MAX_CHANGES ? undefined : { changes, files: this.#files, isEqual: this.#isEqual }
  }

  #compare(isLast: boolean): void {
    while (!this.#isTooMuch) {
      this.#fill()
      const same = wholeRecords(this.#new.bytes, commonLength(this.#new.bytes, this.#old.bytes))
      if (same > 0) {
        this.#skip(same, same)
        continue
      }
      if (this.#new.length === 0 && (!isLast || this.#old.length === 0)) return
      // A step wants any record whole, and some to look ahead at.
      if (!isLast && this.#new.length < WINDOW_BYTES / 2) return
      this.#step()
    }
  }

  /** Past one record at least. */
  #step(): void {
    const [now, before] = [entryAt(this.#new.bytes, 0), entryAt(this.#old.bytes, 0)]
    const isTorn = (now === undefined && this.#new.length > 0) || (before === undefined && this.#old.length > 0)
    if (isTorn) this.#giveUp()
    else if (now !== undefined && before !== undefined && now.path === before.path) {
      if (now.told !== before.told) this.#changed(now.path, before.told, now.told)
      this.#skip(now.bytes, before.bytes)
    } else this.#stepApart(now, before)
  }

  #stepApart(now: Entry | undefined, before: Entry | undefined): void {
    this.#isEqual = false
    const gone = before === undefined ? [] : now === undefined ? [before] : recordsBefore(this.#old.bytes, now.path)
    const came = now === undefined ? [] : before === undefined ? [now] : recordsBefore(this.#new.bytes, before.path)
    // Neither is near: they changed places with others.
    const [left, right] = gone.length > 0 ? [gone, []] : came.length > 0 ? [[], came] : [[before], [now]]
    for (const entry of left) if (entry !== undefined) this.#wasThere(entry)
    for (const entry of right) if (entry !== undefined) this.#isThere(entry)
    this.#skip(lengthOf(right), lengthOf(left))
    if (this.#changes.length > MAX_CHANGES || this.#gone.size + this.#came.size > MAX_WAITING) this.#giveUp()
  }

  #skip(newBytes: number, oldBytes: number): void {
    this.#new.skip(newBytes)
    this.#old.skip(oldBytes)
  }

  #giveUp(): void {
    this.#isTooMuch = true
    this.#gone.clear()
    this.#came.clear()
  }

  #wasThere({ path, told }: Entry): void {
    const now = this.#came.get(path)
    if (now === undefined) return void this.#gone.set(path, told)
    this.#came.delete(path)
    if (now !== told) this.#changed(path, told, now)
  }

  #isThere({ path, told }: Entry): void {
    const before = this.#gone.get(path)
    if (before === undefined) return void this.#came.set(path, told)
    this.#gone.delete(path)
    if (before !== told) this.#changed(path, before, told)
  }

  #changed(path: string, before: string, now: string): void {
    this.#isEqual = false
    this.#changes.push(changeOf(path, before, now))
    this.#files = withFile(this.#files, now)
    if (this.#changes.length > MAX_CHANGES) this.#giveUp()
  }

  #fill(): void {
    const wanted = Math.min(WINDOW_BYTES - this.#old.length, this.#end - this.#position)
    if (wanted <= 0 || this.#old.length >= Math.min(this.#new.length, WINDOW_BYTES / 2)) return
    const read = readSync(this.#fd, this.#old.room(wanted), 0, wanted, this.#position)
    if (read === 0) this.#giveUp() // cut off: none that can be compared with
    this.#position += read
    this.#old.filled(read)
  }
}

/** What is looked at of one side, in memory that is used again and again: a collector would count what is thrown away. */
class Window {
  #memory = Buffer.allocUnsafeSlow(2 * WINDOW_BYTES)
  #start = 0
  #end = 0

  get bytes(): Buffer {
    return this.#memory.subarray(this.#start, this.#end)
  }

  get length(): number {
    return this.#end - this.#start
  }

  skip(bytes: number): void {
    this.#start += bytes
  }

  append(chunk: Buffer): void {
    chunk.copy(this.room(chunk.length))
    this.filled(chunk.length)
  }

  /** Behind what is there, which moves. */
  room(bytes: number): Buffer {
    if (this.#end + bytes > this.#memory.length) this.#moveToFront(bytes)
    return this.#memory.subarray(this.#end, this.#end + bytes)
  }

  filled(bytes: number): void {
    this.#end += bytes
  }

  #moveToFront(bytes: number): void {
    const kept = this.bytes
    const memory =
      kept.length + bytes > this.#memory.length ? Buffer.allocUnsafeSlow(kept.length + bytes) : this.#memory
    kept.copy(memory)
    this.#memory = memory
    this.#end = kept.length
    this.#start = 0
  }
}

/** Of one place, whose records differ. */
export function changeOf(path: string, before: string, now: string): ListedChange {
  if (!isDirectory(before) && !isDirectory(now)) {
    const isLarge = Math.min(fileOf(before).bytes, fileOf(now).bytes) >= LARGE_BYTES
    return isLarge ? { path, subtree: false, large: true } : { path, subtree: false }
  }
  const inode = numberOf(now)
  return isDirectory(before) && isDirectory(now) && numberOf(before) === inode
    ? { path, subtree: false, inode }
    : { path, subtree: true }
}

/** Of all that differs between two listings: finds out which places were rewritten, and nothing else happened to them. */
export function withRewritten(changes: readonly ListedChange[]): readonly ListedChange[] {
  const directories = new Set<string>()
  for (const { path, subtree, inode } of changes) if (subtree || inode !== undefined) directories.add(path)
  return changes.map((change) =>
    change.subtree || change.inode !== undefined || change.large || isBelowAny(change.path, directories)
      ? change
      : { ...change, rewritten: true },
  )
}

function isBelowAny(path: string, directories: ReadonlySet<string>): boolean {
  if (directories.size === 0) return false
  if (directories.has('')) return true
  for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1))
    if (directories.has(path.slice(0, slash))) return true
  return false
}

function isDirectory(told: string): boolean {
  return told.startsWith(DIRECTORY)
}

function withFile(files: ListedFiles, told: string): ListedFiles {
  return told.startsWith(FILE) ? filesOfBoth(files, fileOf(told)) : files
}

function fileOf(told: string): ListedFiles {
  if (!told.startsWith(FILE)) return NO_FILES
  const [, changed, , size = ''] = told.split(' ')
  // A mark may follow.
  const bytes = Number.parseInt(size, 10)
  return { bytes, mostBytes: bytes, changedMs: 1_000 * Number(changed) }
}

function numberOf(told: string): number {
  return Number(told.slice(1, told.indexOf(' ')))
}

/** How many bytes both begin with. */
function commonLength(a: Buffer, b: Buffer): number {
  let [low, high] = [0, Math.min(a.length, b.length)]
  if (a.compare(b, 0, high, 0, high) === 0) return high
  while (high - low > FINE_BYTES) {
    const middle = (low + high) >> 1
    if (a.compare(b, low, middle, low, middle) === 0) low = middle
    else high = middle
  }
  while (a[low] === b[low]) low += 1
  return low
}

/** Where the last record ends of those that lie within the first `length` bytes. */
function wholeRecords(bytes: Buffer, length: number): number {
  if (length === 0) return 0
  const end = bytes.lastIndexOf(NUL, length - 1)
  if (end < 0) return 0
  const start = end === 0 ? 0 : bytes.lastIndexOf(NUL, end - 1) + 1
  return bytes[start] === DOT || bytes[start] === QUESTION ? start : end + 1
}

/** @returns undefined where no whole record begins */
function entryAt(bytes: Buffer, start: number): Entry | undefined {
  const middle = bytes.indexOf(NUL, start)
  const end = middle < 0 ? -1 : bytes.indexOf(NUL, middle + 1)
  if (end < 0) return undefined
  const name = bytes.toString('latin1', start, middle)
  const mark = name.startsWith('?') ? name.slice(0, name.indexOf('.')) : ''
  return {
    path: name.slice(mark.length + 2),
    told: bytes.toString('latin1', middle + 1, end) + mark,
    bytes: end + 1 - start,
  }
}

/** @returns those before that of the path; none where it is not near */
function recordsBefore(bytes: Buffer, path: string): readonly Entry[] {
  const entries: Entry[] = []
  for (let at = 0; entries.length < AHEAD_RECORDS; ) {
    const entry = entryAt(bytes, at)
    if (entry === undefined) return []
    if (entry.path === path) return entries
    entries.push(entry)
    at += entry.bytes
  }
  return []
}

function lengthOf(entries: readonly (Entry | undefined)[]): number {
  return entries.reduce((sum, entry) => sum + (entry?.bytes ?? 0), 0)
}
