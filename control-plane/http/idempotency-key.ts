import { createHash } from 'node:crypto'
import { FleetError } from '../../shared/errors.ts'
import type { Caller } from '../core/caller.ts'

const HEADER = 'Idempotency-Key'
const KEY = /^[\x21-\x7e]{1,255}$/

/** @throws invalid for a key that is none; undefined without the header. */
export function idempotencyKeyOf(header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined
  if (typeof header === 'string' && KEY.test(header)) return header
  const reason = 'must be 1 to 255 visible ASCII characters'
  throw new FleetError('invalid', `${HEADER}: ${reason}`, { field: HEADER, issues: { [HEADER]: reason } })
}

function hashOf(parts: unknown): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex')
}

/** Members in one sequence: the same request written twice is the same request. */
function inOrder(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(inOrder)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).toSorted(([left], [right]) => (left < right ? -1 : 1))
  return { members: entries.map(([name, member]) => [name, inOrder(member)]) }
}

interface Keyed {
  readonly key: string
  readonly caller: Caller
  readonly method: string
  readonly path: string
  readonly query: unknown
  readonly body: unknown
}

/** What a key stands for: `hash` says whose it is and where, `asked` is what was asked, with the secrets in it. */
export function identify({ key, caller, method, path, query, body }: Keyed) {
  const withoutSlash = path.length > 1 ? path.replace(/\/$/, '') : path
  return {
    hash: hashOf([caller.subject, caller.userId, caller.groupId, method, withoutSlash, key]),
    asked: Buffer.from(JSON.stringify([inOrder(query ?? null), inOrder(body ?? null)])),
  }
}
