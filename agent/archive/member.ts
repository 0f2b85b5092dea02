import { FleetError } from '../../shared/errors.ts'
import { type BytePath, fromJson, jsonField } from './byte-path.ts'

/** `gone` stands in an increment for a name, and all below it, that earlier archives of the chain still hold. */
export const ENTRY_TYPES = {
  file: 'f',
  directory: 'd',
  symlink: 'l',
  hardlink: 'h',
  character: 'c',
  block: 'b',
  fifo: 'p',
  gone: '-',
} as const
export type EntryType = keyof typeof ENTRY_TYPES
export type MemberType = Exclude<EntryType, 'gone'>

/** Where the members of patches stand for plain tar, by their numbers: a tree that has such an entry in its root gets none. */
export const PATCHES_DIRECTORY = '.holdfast-patches'

/** A file's content where it differs from what the archives below hold of the same path; the rest of it is theirs. */
export interface Patch {
  /** Its name in the archive. */
  readonly number: number
  /** How many lie over each other with it. */
  readonly depth: number
  /** The `hash` of the member that it lies over. */
  readonly over: string
}

/** Why something of the tree is not, or not as it should be, in the archive. */
export const PROBLEMS = ['unreadable', 'vanished', 'changed', 'mount-point', 'socket', 'too-deep'] as const
export type ProblemReason = (typeof PROBLEMS)[number]

export interface Problem {
  readonly path: BytePath
  readonly reason: ProblemReason
}

/** One line of an index. Numbers are bytes, offsets count in the uncompressed tar. */
export interface Member {
  readonly path: BytePath
  readonly type: MemberType
  /** Where its first header begins, and the frame that holds it. */
  readonly offset: number
  readonly frame: number
  /** Where its content begins, and how long it is as stored: shorter than `size` for a file with holes. */
  readonly dataOffset: number
  readonly storedSize: number
  readonly size: number
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Decimal seconds with nine places; ctime with a `?` behind it where the file may have changed again without moving it. */
  readonly mtime: string
  readonly ctime: string
  readonly inode: number
  readonly links: number
  /** SHA-256 of the content as stored (with holes: of the hole map and the data), for files. */
  readonly hash: string | undefined
  /** A symbolic link's text, or the earlier member that a hard link repeats. */
  readonly link: BytePath | undefined
  /** Of a hard link: where the member that it repeats begins. */
  readonly linkOffset: number | undefined
  readonly holes: boolean
  /** Of a file that is not stored whole; its holes are not zeros then, but what is below. */
  readonly patch: Patch | undefined
  /** It was read badly or while it changed; its content is padded with zeros where bytes were missing. */
  readonly problem: ProblemReason | undefined
}

export interface Gone {
  readonly path: BytePath
  readonly type: 'gone'
}
export type IndexEntry = Member | Gone

/** Everything has a short key: an index of a million members is read whole by every incremental backup. */
export function memberLine(member: Member): string {
  const { type, link, linkOffset, hash, problem, links, patch } = member
  let line = `{${jsonField('p', member.path)},"t":"${ENTRY_TYPES[type]}","o":${member.offset},"n":${member.frame},"d":${member.dataOffset},"s":${member.size},"mode":${member.mode},"u":${member.uid},"g":${member.gid},"m":"${member.mtime}","c":"${member.ctime}","i":${member.inode}`
  if (links > 1 && type !== 'directory') line += `,"k":${links}`
  if (member.holes) line += `,"holes":${member.storedSize}`
  if (patch !== undefined) line += `,"patch":[${patch.number},${patch.depth},"${patch.over}"]`
  if (hash !== undefined) line += `,"h":"${hash}"`
  if (link !== undefined) line += `,${jsonField('l', link)}`
  if (linkOffset !== undefined) line += `,"lo":${linkOffset}`
  if (problem !== undefined) line += `,"x":"${problem}"`
  return `${line}}\n`
}

/** Under which name an archive has a member. */
export function storedName({ path, patch }: Pick<Member, 'path' | 'patch'>): BytePath {
  return patch === undefined ? path : `${PATCHES_DIRECTORY}/${patch.number}`
}

export function goneLine(path: BytePath): string {
  return `{${jsonField('p', path)},"t":"-"}\n`
}

/** What a line says of where it is and whether it changed; the rest is left unread. Cheap: for scans. @throws corrupt */
export function pathOfLine(line: unknown): BytePath {
  // as: each field is looked at before it is used
  const { p, pB64 } = line as { readonly p?: unknown; readonly pB64?: unknown }
  const path = fromJson(
    typeof p === 'string' ? p : undefined, //
    typeof pB64 === 'string' ? pB64 : undefined,
  )
  if (path === undefined) throw new FleetError('corrupt', 'a line of the index has no path')
  return path
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new FleetError('corrupt', 'a line of the index cannot be read', { cause, detail: text.slice(0, 200) })
  }
}
