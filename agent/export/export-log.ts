import {
  closeSync,
  fdatasyncSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
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
  /** On disk when it returns. */
  keep(exports: readonly LoggedExport[]): void
  /** On disk when it returns. */
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

  function write(added: readonly Line[]): void {
    if (added.length === 0) return
    writeSync(file, added.map((line) => `${JSON.stringify(line)}\n`).join(''))
    fdatasyncSync(file)
    lines += added.length
    if (lines - exports.size <= MAX_DEAD || lines < 2 * exports.size) return
    closeSync(file)
    file = rewrite(path, exports)
    lines = exports.size
  }

  return {
    exports,
    unreadable,
    keep(added) {
      for (const one of added) exports.set(one.wwn, one)
      write(added.map(keepLine))
    },
    drop(wwns) {
      const gone = wwns.filter((wwn) => exports.delete(wwn))
      write(gone.map((wwn) => ({ op: 'drop', wwn })))
    },
    close: () => closeSync(file),
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
    else if (line.op === 'drop') exports.delete(line.wwn)
    else exports.set(line.export.wwn, { ...line.export, chap: line.export.chap })
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

/** @returns the new file, open for more */
function rewrite(path: string, exports: ReadonlyMap<string, LoggedExport>): number {
  const partial = `${path}.partial`
  const file = openSync(partial, 'w', PRIVATE_MODE)
  writeFileSync(file, [...exports.values()].map((one) => `${JSON.stringify(keepLine(one))}\n`).join(''))
  fsyncSync(file)
  renameSync(partial, path)
  const folder = openSync(dirname(path), 'r')
  fsyncSync(folder)
  closeSync(folder)
  return file
}
