import type { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'

/** A hostile body can be wrong in a million places. */
const ISSUES_MAX = 64
const DEPTH_MAX = 64
const NAMED_DEPTH_MAX = 8

/** Words for the two cases a reader meets most; undefined leaves zod's own. */
function describe(issue: { readonly code: string; readonly input?: unknown }): string | undefined {
  return issue.code === 'invalid_type' && issue.input === undefined ? 'is required' : undefined
}

interface Fault {
  readonly at: readonly string[]
  readonly reason: string
}

const NOT_TEXT: Fault = { at: [], reason: 'must be Unicode text without NUL' }
const TOO_DEEP: Fault = { at: [], reason: `must not be nested deeper than ${DEPTH_MAX}` }

/**
 * What of a value Postgres cannot keep: a text, or the name of a member, with a NUL or half of a surrogate pair. Values that a
 * schema lets be anything may be nested without end: who walks them next must not run out of stack.
 */
function unstorable(value: unknown, depth = 0): Fault | undefined {
  if (typeof value === 'string') return value.includes('\0') || !value.isWellFormed() ? NOT_TEXT : undefined
  if (typeof value !== 'object' || value === null) return undefined
  if (depth >= DEPTH_MAX) return TOO_DEEP
  for (const [name, member] of Object.entries(value)) {
    if (unstorable(name)) return NOT_TEXT
    const within = unstorable(member, depth + 1)
    if (within) return { ...within, at: [name, ...within.at] }
  }
  return undefined
}

/** The members at fault, as the client spelled them. */
function fieldsOf(issue: z.core.$ZodIssue, where: string): readonly string[] {
  const at = issue.path.join('.')
  if (issue.code !== 'unrecognized_keys') return [at || where]
  return issue.keys.map((key) => (at === '' ? key : `${at}.${key}`))
}

function reasonOf(issue: z.core.$ZodIssue): string {
  return issue.message.replace(/^Invalid (input|option): /, '')
}

/** The first reason of each field. Without a prototype: fields may be called `__proto__`. */
function issuesOf(error: z.ZodError, where: string): Readonly<Record<string, string>> {
  const issues: Record<string, string> = Object.create(null)
  const faults = error.issues.flatMap((issue) => fieldsOf(issue, where).map((field) => ({ field, issue })))
  for (const { field, issue } of faults.slice(0, ISSUES_MAX)) issues[field] ??= reasonOf(issue)
  return issues
}

/**
 * What `schema` makes of `input`, which came from outside.
 * @param where named when the fault is the whole of it: `body`, `query`, `path`.
 * @throws invalid, its message and `field` naming the first field at fault, `issues` all of them.
 */
export function validate(schema: z.ZodType, input: unknown, where: string): unknown {
  const parsed = schema.safeParse(input, { error: describe })
  if (parsed.success) {
    const fault = unstorable(parsed.data)
    if (fault === undefined) return parsed.data
    const field = fault.at.slice(0, NAMED_DEPTH_MAX).join('.') || where
    const { reason } = fault
    throw new FleetError('invalid', `${field}: ${reason}`, { field, issues: { [field]: reason } })
  }
  const issues = issuesOf(parsed.error, where)
  const [[field, reason] = [where, 'is not valid']] = Object.entries(issues)
  throw new FleetError('invalid', `${field}: ${reason}`, { field, issues })
}
