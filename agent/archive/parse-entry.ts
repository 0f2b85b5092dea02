import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { type BytePath, fromJson } from './byte-path.ts'
import {
  ENTRY_TYPES,
  type EntryType,
  type IndexEntry,
  type Member,
  type MemberType,
  PROBLEMS,
  parseJson,
  pathOfLine,
} from './member.ts'

const count = z.number().int().nonnegative()
const TYPES = new Map<string, EntryType>(Object.entries(ENTRY_TYPES).map(([type, key]) => [key, type as EntryType]))

const Line = z.object({
  p: z.string().optional(),
  pB64: z.string().optional(),
  t: z.string(),
  o: count,
  n: count,
  d: count,
  s: count,
  mode: count,
  u: count,
  g: count,
  m: z.string(),
  c: z.string(),
  i: count,
  k: count.optional(),
  holes: count.optional(),
  patch: z.tuple([count, count.positive(), z.string()]).optional(),
  h: z.string().optional(),
  l: z.string().optional(),
  lB64: z.string().optional(),
  lo: count.optional(),
  x: z.enum(PROBLEMS).optional(),
})

/** @throws corrupt */
export function parseEntry(text: string): IndexEntry {
  const raw = parseJson(text)
  const path = pathOfLine(raw)
  // as: an object, or pathOfLine had thrown
  if ((raw as { readonly t?: unknown }).t === '-') return { path, type: 'gone' }
  const parsed = Line.safeParse(raw)
  const type = parsed.success ? TYPES.get(parsed.data.t) : undefined
  if (!parsed.success || type === undefined || type === 'gone')
    throw new FleetError('corrupt', 'a line of the index cannot be read', { detail: text.slice(0, 200) })
  return memberOf(path, type, parsed.data)
}

function memberOf(path: BytePath, type: MemberType, line: z.infer<typeof Line>): Member {
  return {
    path,
    type,
    offset: line.o,
    frame: line.n,
    dataOffset: line.d,
    storedSize: line.holes ?? (type === 'file' ? line.s : 0),
    size: line.s,
    mode: line.mode,
    uid: line.u,
    gid: line.g,
    mtime: line.m,
    ctime: line.c,
    inode: line.i,
    links: line.k ?? 1,
    hash: line.h,
    link: fromJson(line.l, line.lB64),
    linkOffset: line.lo,
    holes: line.holes !== undefined,
    patch: line.patch && { number: line.patch[0], depth: line.patch[1], over: line.patch[2] },
    problem: line.x,
  }
}
