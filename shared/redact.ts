/** What stands where a secret was. */
export const REDACTED = '[redacted]'

/** Names under which secrets travel: in headers, bodies, configuration and columns, however they are spelled. */
const SECRET_NAME =
  /^(authorization|proxy-?authorization|cookie|set-?cookie|x-?auth-?token|x-?subject-?token|idempotency-?key|seed|jwt|chap)$|passw|secret|credential|private-?_?key|api-?_?key|(^|[-_.])token$|[a-z]Token$|^sec-websocket-protocol$|^database_?url$/i

const MAX_DEPTH = 8
const MAX_KNOWN_NAMES = 10_000
const known = new Map<string, boolean>()

function isSecretName(name: string): boolean {
  const before = known.get(name)
  if (before !== undefined) return before
  const answer = SECRET_NAME.test(name)
  // Names come from our own code; should they not, memory stays bounded.
  if (known.size >= MAX_KNOWN_NAMES) known.clear()
  known.set(name, answer)
  return answer
}

/** `value` with every member that is named like a secret replaced, at any depth; the very same value when there is none. */
export function redact(value: unknown, depth = 0): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Error || value instanceof Date || ArrayBuffer.isView(value)) return value
  if (depth >= MAX_DEPTH) return REDACTED
  if (Array.isArray(value)) return redactItems(value, depth)
  let copy: Record<string, unknown> | undefined
  for (const [name, member] of Object.entries(value)) {
    const shown = isSecretName(name) ? hide(member) : redact(member, depth + 1)
    if (shown === member) continue
    copy ??= { ...value }
    copy[name] = shown
  }
  return copy ?? value
}

function redactItems(items: readonly unknown[], depth: number): readonly unknown[] {
  const shown = items.map((item) => redact(item, depth + 1))
  return shown.some((item, n) => item !== items[n]) ? shown : items
}

/** Whether there is a secret at all may be told: absent ones, flags and counts stay. */
function hide(member: unknown): unknown {
  return typeof member === 'string' || (typeof member === 'object' && member !== null) ? REDACTED : member
}
