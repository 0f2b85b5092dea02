import { closeSync, constants, linkSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { FleetError } from '../../../shared/errors.ts'
import { run } from '../../exec/run.ts'
import { DirectoryReader } from '../../native/directory-entries.ts'
import { close, openBeneath } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import {
  changeOf,
  filesOfBoth,
  type ListedChange,
  type ListedFiles,
  ListingDiff,
  MAX_CHANGES,
  NO_FILES,
  withRewritten,
} from '../../tree/listing-diff.ts'
import { HEADER_BYTES, type OpenListing, openListing, sealListing } from '../../tree/listing-file.ts'
import type { Watch } from '../driver.ts'
import { ListingPart } from './listing-part.ts'

/** findutils; where it is another's, without -printf, nothing is listed. */
const FIND = '/usr/bin/find'
/** Whatever can tell two states of an entry apart; ctime and mtime with all nine places. */
const RECORD = '%p\\0%y%i %C@ %T@ %s\\0'
/** Three million entries; of more there is no listing. */
const MAX_BYTES = 2 ** 28
const LIST_MS = 600_000
/** Looked at by as many processes. */
const PARTS = Math.min(4, availableParallelism())
/** Names in the root that are given one by one: of more `find` is not told, so that it is one process. */
const MAX_NAMES = 1_000
/** Between two looks at how much there is. */
const LOOK_MS = 200

export interface ListRequest {
  /** Of the tree's root, open for reading. */
  readonly rootFd: number
  /**
   * Milliseconds since the epoch; what changed then or later may change again unseen, and is told as changed by the next. Dirty
   * pages have been written since (see stamp-file.ts).
   */
  readonly settledBeforeMs: number
  /** Of an older listing; nothing there, or something else, is as good as none. */
  readonly base: string | undefined
  /** Where to write this one. Its name with a number behind it is free too. */
  readonly path: string
}

export interface ListedTree {
  /** What differs from the older listing; undefined where there is none, or too much differs. */
  readonly changes: readonly ListedChange[] | undefined
  readonly files: ListedFiles
}

/**
 * Lists a tree that lives, by C alone: two processes look at 100,000 files in a tenth of a second. Names may be any bytes; mount points
 * are listed and not entered.
 * @returns undefined where the tree cannot be listed whole (an unreadable directory, no GNU find, too large): then nothing is written
 * @throws cancelled
 */
export async function listTree(request: ListRequest, watch: Watch): Promise<ListedTree | undefined> {
  const rootFd = openBeneath(request.rootFd, '.', constants.O_RDONLY | constants.O_DIRECTORY)
  const base = request.base === undefined ? undefined : openListing(request.base)
  const writing: ListingPart[] = []
  const ended = new AbortController()
  const { settledBeforeMs } = request
  let looking: NodeJS.Timeout | undefined
  try {
    const root = rootRecord(rootFd, request)
    const parts = partsOf(rootFd, base)
    const signal = AbortSignal.any([watch.signal, ended.signal])
    const listing = parts.map((part, index) => {
      const file = new ListingPart(request.path, index)
      writing.push(file)
      return listPart(part, { settledBeforeMs, rootFd, base, file }, signal)
    })
    looking = setInterval(() => {
      watch.progress({ phase: 'list' })
      if (writing.some((file) => file.bytes > MAX_BYTES)) ended.abort()
    }, LOOK_MS)
    const listed = await Promise.all(listing).catch(async (error: unknown) => {
      ended.abort()
      await Promise.allSettled(listing)
      throw error
    })
    return await complete({ request, base, root }, writing, listed)
  } catch (error) {
    rmSync(request.path, { force: true })
    if (watch.signal.aborted) throw new FleetError('cancelled', 'cancelled')
    // The tool is missing or failed, or the disk is full; cancelled by nobody, it was too much.
    if (!(error instanceof FleetError) && errorCodeOf(error) === undefined) throw error
    return undefined
  } finally {
    clearInterval(looking)
    for (const file of writing) file.discard()
    if (base !== undefined) closeSync(base.fd)
    close(rootFd)
  }
}

const UNKNOWN: ListedTree = { changes: undefined, files: NO_FILES }

interface Part {
  /** For `find`: where it starts; none means nothing is listed. */
  readonly names: readonly string[]
  readonly from: number
  readonly to: number
}

type Listed = ReturnType<ListingDiff['finish']>

function partsOf(rootFd: number, base: OpenListing | undefined): readonly Part[] {
  const names = namesInRoot(rootFd)
  const end = base?.bytes ?? HEADER_BYTES
  if (names === undefined) return [{ names: ['.', '-mindepth', '1'], from: HEADER_BYTES, to: end }]
  const splits =
    base?.splits ??
    Array.from({ length: PARTS - 1 }, (_, part) => ({
      name: names[Math.ceil((names.length * (part + 1)) / PARTS)] ?? names.at(-1) ?? '',
      at: HEADER_BYTES,
    }))
  return [...splits, undefined].map((split, part) => {
    const before = splits[part - 1]
    const inside = names.filter(
      (name) => (before === undefined || name >= before.name) && (!split || name < split.name),
    )
    return {
      names: inside.map((name) => `./${Buffer.from(name, 'latin1').toString()}`),
      from: before?.at ?? HEADER_BYTES,
      to: split?.at ?? end,
    }
  })
}

/** Sorted, one character a byte; undefined where `find` has to look for them itself. */
function namesInRoot(rootFd: number): readonly string[] | undefined {
  const names: string[] = []
  const status = new Status()
  const { device } = status.readDescriptor(rootFd)
  let isPlain = true
  new DirectoryReader().forEach(rootFd, (entry) => {
    isPlain &&= names.length < MAX_NAMES
    if (!isPlain) return
    const bytes = entry.copyName().subarray(0, -1)
    // What is given by name is entered wherever it is mounted.
    const isHere = entry.type === 'file' || (status.readName(rootFd, entry.name)?.device ?? device) === device
    isPlain = isHere && Buffer.from(bytes.toString()).equals(bytes)
    names.push(bytes.toString('latin1'))
  })
  return isPlain ? names.sort((a, b) => (a < b ? -1 : 1)) : undefined
}

function rootRecord(rootFd: number, { settledBeforeMs }: ListRequest): string {
  const { inode, changed, modified, changedNanoseconds } = new Status().readDescriptor(rootFd)
  const isSettled = changedNanoseconds < BigInt(settledBeforeMs) * 1_000_000n
  return `d${inode} ${changed} ${modified}${isSettled ? '' : markOf(settledBeforeMs)}`
}

/** Another each time, so that what bears it is equal to nothing. */
function markOf(settledBeforeMs: number): string {
  return `?${settledBeforeMs}`
}

async function listPart(
  { names, from, to }: Part,
  given: Pick<ListRequest, 'settledBeforeMs' | 'rootFd'> & {
    readonly base: OpenListing | undefined
    readonly file: ListingPart
  },
  signal: AbortSignal,
): Promise<Listed> {
  const { settledBeforeMs, rootFd, base, file } = given
  const diff = base === undefined ? undefined : new ListingDiff({ fd: base.fd, from, to })
  // Without a name it would list all.
  if (names.length > 0) {
    // Strictly newer than: a millisecond before.
    const settled = `@${((settledBeforeMs - 1) / 1_000).toFixed(3)}`
    const mark = ['(', '-newerct', settled, '-printf', markOf(settledBeforeMs), '-o', '-true', ')']
    const args = [...names, '-xdev', '-ignore_readdir_race', ...mark, '-printf', RECORD]
    const options = { signal, timeoutMs: LIST_MS, directoryFd: rootFd, outputFd: file.fd }
    const { exitCode, stderr } = await run(FIND, args, options)
    if (exitCode !== 0) throw new FleetError('internal', 'the tree cannot be listed', { detail: stderr })
  }
  if (diff === undefined) return undefined
  for await (const chunk of file.chunks()) diff.take(chunk)
  return diff.finish()
}

async function complete(
  given: { readonly request: ListRequest; readonly base: OpenListing | undefined; readonly root: string },
  files: readonly ListingPart[],
  listed: readonly Listed[],
): Promise<ListedTree> {
  const { request, base, root } = given
  if (request.base !== undefined && root === base?.root && listed.every((part) => part?.isEqual === true)) {
    rmSync(request.path)
    linkSync(request.base, request.path)
    return { changes: [], files: NO_FILES }
  }
  const [first, ...others] = files
  for (const part of others) await first?.append(part)
  sealListing(request.path, { root, parts: PARTS })
  if (base === undefined) return UNKNOWN
  const changes = root === base.root ? [] : [changeOf('', base.root, root)]
  let found = NO_FILES
  for (const part of listed) {
    if (part === undefined) return UNKNOWN
    changes.push(...part.changes)
    found = filesOfBoth(found, part.files)
  }
  // Another root: nothing below it need be what it was.
  const isTooMuch = changes.length > MAX_CHANGES || changes.some(({ path, subtree }) => path === '' && subtree)
  return isTooMuch ? UNKNOWN : { changes: withRewritten(changes), files: found }
}
