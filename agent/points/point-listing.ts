import { FleetError } from '../../shared/errors.ts'
import type { MemberName } from '../../shared/point-spec.ts'
import type { PointFile, ReadAnswerOf } from '../../shared/wire/reads.ts'
import { diff, listDirectory, type Page, search } from '../archive/browse.ts'
import { type BytePath, bytePath, bytesOf, displayPath, isUtf8, isWithin } from '../archive/byte-path.ts'
import type { Chain, ChainMember } from '../archive/chain.ts'
import type { Member } from '../archive/member.ts'
import type { Question } from './answers.ts'
import { decodePlace, encodePlace } from './cursor.ts'
import type { OpenChains } from './open-chains.ts'

/** Of all items together as JSON: an answer is one message of at most a MiB. */
const MAX_ANSWER_BYTES = 700_000

/** What stands in a directory of a point, or below it what holds a text. */
export async function pointFiles(
  chains: OpenChains,
  { id, request, sealed, signal, untilMs }: Question<'point-files'>,
): Promise<ReadAnswerOf<'point-files'>> {
  const { point, limit, search: text } = request
  const path = askedPath(request.path)
  const cursor = request.cursor === undefined ? undefined : pathOfCursor(request.cursor)
  return chains.use(
    { target: point.target, sealed, context: `read/${id}`, series: point.series, refs: point.chain },
    signal,
    async ({ chain }) => {
      const page =
        text === undefined
          ? await listDirectory(chain, { path, limit, untilMs, ...(cursor === undefined ? {} : { cursor }) }, signal)
          : await searchBelow(chain, { path, text, cursor, limit, untilMs }, signal)
      return fitted(page)
    },
  )
}

/** A search goes on to the end of the index: what lies behind the directory is left. */
async function searchBelow(
  chain: Chain,
  asked: {
    readonly path: BytePath
    readonly text: string
    readonly cursor: BytePath | undefined
    readonly limit: number
    readonly untilMs: number
  },
  signal: AbortSignal,
): Promise<Page> {
  const { path, text, limit, untilMs, cursor = path } = asked
  const top = await chain.find(path, signal)
  if (top === undefined) throw new FleetError('not_found', `'${displayPath(path)}' is not in this point`)
  const { members, next } = await search(chain, { text, cursor, limit, untilMs }, signal)
  const within = members.filter((member) => isWithin(member.path, path))
  const isOver = within.length < members.length || next === undefined || !isWithin(next, path)
  return { members: within.filter((member) => member.path !== path), next: isOver ? undefined : next }
}

function fitted({ members, next }: Page): ReadAnswerOf<'point-files'> {
  const items: PointFile[] = []
  let bytes = 0
  for (const member of members) {
    const file = fileOf(member)
    bytes += Buffer.byteLength(JSON.stringify(file))
    if (bytes > MAX_ANSWER_BYTES && items.length > 0) return { items, next: encodePlace(member.path) }
    items.push(file)
  }
  return { items, next: next === undefined ? null : encodePlace(next) }
}

/** What differs between two points, by their indexes; a long way without a difference ends in an early page. */
export async function diffPoints(
  chains: OpenChains,
  { id, request, sealed, signal, untilMs }: Question<'point-diff'>,
): Promise<ReadAnswerOf<'point-diff'>> {
  const { before, after, limit, cursor } = request
  const from = cursor === undefined ? { at: '' } : decodePlace(cursor)
  const asked = (point: typeof before) => ({
    ...{ target: point.target, sealed, context: `read/${id}` },
    ...{ series: point.series, refs: point.chain },
  })
  return chains.use(asked(before), signal, (old) =>
    chains.use(asked(after), signal, (now) =>
      differences({ before: paused(old.chain, untilMs), after: paused(now.chain, untilMs), from, limit }, signal),
    ),
  )
}

type Members = Pick<Chain, 'members'>

async function differences(
  asked: {
    readonly before: Members
    readonly after: Members
    readonly from: { readonly at: BytePath; readonly after?: boolean | undefined }
    readonly limit: number
  },
  signal: AbortSignal,
): Promise<ReadAnswerOf<'point-diff'>> {
  const { before, after, from, limit } = asked
  const items: ReadAnswerOf<'point-diff'>['items'] = []
  let bytes = 0
  try {
    for await (const found of diff(before, after, signal, from.at)) {
      if (found.path === from.at && from.after === true) continue
      const item = {
        kind: found.kind,
        before: found.before === undefined ? null : fileOf(found.before),
        after: found.after === undefined ? null : fileOf(found.after),
      }
      bytes += Buffer.byteLength(JSON.stringify(item))
      const isFull = items.length === limit || (bytes > MAX_ANSWER_BYTES && items.length > 0)
      if (isFull) return { items, next: encodePlace(found.path) }
      items.push(item)
    }
    return { items, next: null }
  } catch (error) {
    if (error instanceof Pause) return { items, next: encodePlace(error.path, true) }
    throw error
  }
}

/** Thrown between two members when it is time to answer; everything up to `path` has been compared. */
class Pause extends Error {
  override readonly name = 'Pause'
  readonly path: BytePath

  constructor(path: BytePath) {
    super('time to answer')
    this.path = path
  }
}

function paused(chain: Chain, untilMs: number): Members {
  return {
    async *members(from, signal): AsyncGenerator<ChainMember> {
      for await (const found of chain.members(from, signal)) {
        yield found
        if (performance.now() > untilMs) throw new Pause(found.member.path)
      }
    },
  }
}

function fileOf(member: Member): PointFile {
  const { path, type, size, mode, uid, gid, mtime, link, hash, problem } = member
  return {
    path: path === '' ? '' : displayPath(path),
    ...(isUtf8(path) ? {} : { pathBase64: bytesOf(path).toString('base64') }),
    ...{ type, size, mode, uid, gid, mtime },
    ...(link === undefined ? {} : { link: displayPath(link) }),
    ...(hash === undefined || member.holes ? {} : { sha256: hash }),
    ...(problem === undefined ? {} : { problem }),
  }
}

export function askedPath(path: MemberName): BytePath {
  if (typeof path !== 'string') return bytePath(Buffer.from(path.base64, 'base64'))
  return bytePath(path.replace(/^\/+|\/+$/g, ''))
}

function pathOfCursor(cursor: string): BytePath {
  return decodePlace(cursor).at
}
