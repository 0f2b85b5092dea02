import type { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'

/** Words for the two cases a reader meets most; undefined leaves zod's own. */
function describe(issue: { readonly code: string; readonly input?: unknown }): string | undefined {
  return issue.code === 'invalid_type' && issue.input === undefined ? 'is required' : undefined
}

/** Where a text, or the name of a member, holds what Postgres cannot keep: a NUL, or half of a surrogate pair. */
function unstorable(value: unknown): readonly string[] | undefined {
  if (typeof value === 'string') return value.includes('\0') || !value.isWellFormed() ? [] : undefined
  if (typeof value !== 'object' || value === null) return undefined
  for (const [name, member] of Object.entries(value)) {
    if (unstorable(name)) return []
    const within = unstorable(member)
    if (within) return [name, ...within]
  }
  return undefined
}

/**
 * What `schema` makes of `input`, which came from outside.
 * @param where named when the fault is the whole of it: `body`, `query`, `path`.
 * @throws invalid, its message and `field` naming the first field at fault.
 */
export function validate(schema: z.ZodType, input: unknown, where: string): unknown {
  const parsed = schema.safeParse(input, { error: describe })
  if (parsed.success) {
    const at = unstorable(parsed.data)
    if (at === undefined) return parsed.data
    const field = at.join('.') || where
    throw new FleetError('invalid', `${field}: must be Unicode text without NUL`, { field })
  }
  const issue = parsed.error.issues[0]
  const field = issue?.path.join('.') || (issue?.code === 'unrecognized_keys' ? issue.keys.join(', ') : where)
  const message = (issue?.message ?? 'is not valid').replace(/^Invalid (input|option): /, '')
  throw new FleetError('invalid', `${field}: ${message}`, { field })
}
