import {
  closeSync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { z } from 'zod'
import { WantedExport } from '../../shared/volume-spec.ts'
import { errorCodeOf } from '../native/system-error.ts'
import type { Chap, KeptExport } from './export-keeper.ts'

const PRIVATE_MODE = 0o600
/** Lines that say nothing any more; more of them, and more than those that do, and the file is written anew. */
const MAX_DEAD = 1_000

/** What is kept of an export; `chap` as it is needed to make the target again. */
export interface LoggedExport extends KeptExport {
  readonly chap: Chap
}

const Line = z.discriminatedUnion('op', [
  z.object({
    op: z.literal('keep'),
    export: WantedExport.extend({
      device: z.string(),
      guid: z.string(),
      chap: z.object({ user: z.string(), secret: z.string() }).optional(),
    }),
  }),
  z.object({ op: z.literal('drop'), wwn: z.string() }),
])
type Line = z.infer<typeof Line>

/** Exports by wwn, in one file that is only ever added to or replaced as a whole: many at one time cost one write. */
export interface ExportLog {
  readonly exports: ReadonlyMap<string, LoggedExport>
  /** How many lines could not be read; the last one, if a write was cut off, is none of them. */
  readonly unreadable: number
  /** On disk when it returns; nothing is changed when it throws. */
  keep(exports: readonly LoggedExport[]): void
  /** On disk when it returns; nothing is changed when it throws. */
  drop(wwns: readonly string[]): void
  close(): void
}

/** Synchronous, as the journal is: an export is a few hundred bytes. @throws what the file system says */
export function openExportLog(path: string): ExportLog {
  const { exports, unreadable } = read(path)
  // For somebody to see to: what it said of exports is asked of the control plane.
  if (unreadable > 0) renameSync(path, `${path}.unreadable`)
  let file = rewrite(path, exports)
  let lines = exports.size
  /** A write failed: what is on the disk cannot be told before the file is replaced. */
  let isDoubtful = false
  /** Part of that write is in the file. */
  let isTorn = false

  function write(added: readonly Line[]): void {
    if (added.length === 0) return
    if (!isDoubtful || !replaced(added)) append(added)
    for (const line of added) apply(exports, line)
    if (lines - exports.size <= MAX_DEAD || lines < 2 * exports.size) return
    try {
      replace(exports)
    } catch {
      isDoubtful = true // all of it is written: the next one tries again
    }
  }

  /** @returns false where it cannot be, and adding to it does no harm. @throws where it would */
  function replaced(added: readonly Line[]): boolean {
    const next = new Map(exports)
    for (const line of added) apply(next, line)
    try {
      replace(next)
      return true
    } catch (error) {
      if (isTorn) throw error
      return false
    }
  }

  function append(added: readonly Line[]): void {
    const sizeBytes = fstatSync(file).size
    try {
      writeAll(file, textOf(added), sizeBytes)
      fdatasyncSync(file)
      lines += added.length
    } catch (error) {
      isDoubtful = true
      isTorn = !isTakenOff(file, sizeBytes)
      throw error
    }
  }

  function replace(next: ReadonlyMap<string, LoggedExport>): void {
    const fresh = rewrite(path, next)
    closeSync(file)
    file = fresh
    lines = next.size
    isDoubtful = false
    isTorn = false
  }

  return {
    exports,
    unreadable,
    keep: (added) => write(added.map(keepLine)),
    drop: (wwns) => write(wwns.filter((wwn) => exports.has(wwn)).map((wwn) => ({ op: 'drop', wwn }))),
    close: () => closeSync(file),
  }
}

/** The wwns that are kept there, without touching it. */
export function wwnsIn(path: string): readonly string[] {
  return [...read(path).exports.keys()]
}

function apply(exports: Map<string, LoggedExport>, line: Line): void {
  if (line.op === 'drop') exports.delete(line.wwn)
  else exports.set(line.export.wwn, { ...line.export, chap: line.export.chap })
}

function textOf(lines: readonly Line[]): string {
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('')
}

/** One call may write less than it was given, when the disk is about to be full. @param at where it begins, in bytes */
function writeAll(file: number, text: string, at: number): void {
  const bytes = Buffer.from(text)
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done, bytes.length - done, at + done)
}

/** @returns whether what a failed write left is gone from the file's end */
function isTakenOff(file: number, sizeBytes: number): boolean {
  try {
    ftruncateSync(file, sizeBytes)
    return true
  } catch {
    return false
  }
}

function keepLine({ exportId, wwn, place, access, device, guid, chap }: LoggedExport): Line {
  const kept = { exportId, wwn, place, access, device, guid }
  return { op: 'keep', export: chap === undefined ? kept : { ...kept, chap } }
}

function read(path: string): { readonly exports: Map<string, LoggedExport>; readonly unreadable: number } {
  const exports = new Map<string, LoggedExport>()
  let unreadable = 0
  const text = readOrNothing(path)
  // Without its newline a line was not told to anybody yet.
  for (const words of text.slice(0, text.lastIndexOf('\n') + 1).split('\n')) {
    if (words === '') continue
    const line = parseLine(words)
    if (line === undefined) unreadable += 1
    else apply(exports, line)
  }
  return { exports, unreadable }
}

function parseLine(words: string): Line | undefined {
  try {
    return Line.parse(JSON.parse(words))
  } catch {
    return undefined
  }
}

function readOrNothing(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (errorCodeOf(error) === 'ENOENT') return ''
    throw error
  }
}

/** @returns the new file, open for more. @throws what the file system says, with the old one as it was */
function rewrite(path: string, exports: ReadonlyMap<string, LoggedExport>): number {
  const partial = `${path}.partial`
  const file = openSync(partial, 'w', PRIVATE_MODE)
  try {
    writeAll(file, textOf([...exports.values()].map(keepLine)), 0)
    fsyncSync(file)
    renameSync(partial, path)
  } catch (error) {
    closeSync(file)
    rmSync(partial, { force: true })
    throw error
  }
  const folder = openSync(dirname(path), 'r')
  fsyncSync(folder)
  closeSync(folder)
  return file
}
