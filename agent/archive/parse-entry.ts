import { FleetError } from '../../shared/errors.ts'
import { type BytePath, fromJson } from './byte-path.ts'
import {
  ENTRY_TYPES,
  type EntryType,
  type IndexEntry,
  type Member,
  type MemberType,
  PROBLEMS,
  type ProblemReason,
  parseJson,
  pathOfLine,
} from './member.ts'

const TYPES = new Map<unknown, EntryType>(Object.entries(ENTRY_TYPES).map(([type, key]) => [key, type as EntryType]))
const KNOWN_PROBLEMS: ReadonlySet<unknown> = new Set(PROBLEMS)

/** By hand, not by a schema: every line of every index passes here, and that takes a third of the time. @throws corrupt */
export function parseEntry(text: string): IndexEntry {
  const raw = parseJson(text)
  const path = pathOfLine(raw)
  // as: an object, or pathOfLine had thrown; each field is looked at before it is used
  const line = raw as Readonly<Record<string, unknown>>
  const type = TYPES.get(line.t)
  if (type === 'gone') return { path, type }
  const member = type === undefined ? undefined : memberOf(path, type, line)
  if (member === undefined)
    throw new FleetError('corrupt', 'a line of the index cannot be read', { detail: text.slice(0, 200) })
  return member
}

/** @returns undefined where a field is missing, or is not what it should be */
function memberOf(path: BytePath, type: MemberType, line: Readonly<Record<string, unknown>>): Member | undefined {
  const { p, pB64, o, n, d, s, mode, u, g, m, c, i, k, holes, patch, h, l, lB64, lo, x } = line
  const hasPlace = isTextOrNone(p) && isTextOrNone(pB64) && isCount(o) && isCount(n) && isCount(d) && isCount(s)
  const hasStatus = isCount(mode) && isCount(u) && isCount(g) && isCount(i) && isText(m) && isText(c)
  if (!hasPlace || !hasStatus || !isCountOrNone(k) || !isCountOrNone(holes) || !isCountOrNone(lo)) return undefined
  if (!isTextOrNone(h) || !isTextOrNone(l) || !isTextOrNone(lB64) || !isProblemOrNone(x) || !isPatchOrNone(patch))
    return undefined
  return {
    path,
    type,
    offset: o,
    frame: n,
    dataOffset: d,
    storedSize: holes ?? (type === 'file' ? s : 0),
    size: s,
    mode,
    uid: u,
    gid: g,
    mtime: m,
    ctime: c,
    inode: i,
    links: k ?? 1,
    hash: h,
    link: fromJson(l, lB64),
    linkOffset: lo,
    holes: holes !== undefined,
    patch: patch && { number: patch[0], depth: patch[1], over: patch[2] },
    problem: x,
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 // as: it is an integer
}

function isCountOrNone(value: unknown): value is number | undefined {
  return value === undefined || isCount(value)
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}

function isTextOrNone(value: unknown): value is string | undefined {
  return value === undefined || isText(value)
}

function isProblemOrNone(value: unknown): value is ProblemReason | undefined {
  return value === undefined || KNOWN_PROBLEMS.has(value)
}

function isPatchOrNone(value: unknown): value is readonly [number, number, string] | undefined {
  if (value === undefined) return true
  if (!Array.isArray(value) || value.length !== 3) return false
  const [number, depth, over] = value as readonly unknown[] // as: of anything
  return isCount(number) && isCount(depth) && depth > 0 && isText(over)
}
