import { z } from 'zod'
import { badQuery } from './bad-query.ts'

/** On every document, whatever is asked for: who it is, and what it takes to change it. */
const ALWAYS = new Set(['_id', '_created', '_updated', '_etag', '_links', '_status'])

const Choices = z.record(z.string(), z.union([z.literal(0), z.literal(1), z.boolean()]))

type Document = Readonly<Record<string, unknown>>

/** `{"name": 1}` shows only that, `{"tags": 0}` all but that. @param members that documents have. @throws WireError 400. */
export function parseProjection(text: string, members: readonly string[]): (document: Document) => Document {
  const asked = tryJson(text)
  const parsed = Choices.safeParse(asked)
  if (!parsed.success) throw badQuery('projection', 'must be a JSON object of field names, each with 1 or 0')
  // Of what was sent: a parsed record lacks `__proto__`.
  const unknown = Object.keys(Object(asked)).find((name) => !ALWAYS.has(name) && !members.includes(name))
  if (unknown !== undefined) throw badQuery('projection', `'${unknown}' is not a field`)
  const choices = Object.entries(parsed.data).filter(([name]) => !ALWAYS.has(name))
  if (new Set(choices.map(([, shown]) => Boolean(shown))).size > 1) {
    throw badQuery('projection', 'either names what is shown or what is not')
  }
  if (choices.length === 0) return (document) => document
  const named = new Set(choices.map(([name]) => name))
  const showsNamed = Boolean(choices[0]?.[1])
  return (document) =>
    Object.fromEntries(Object.entries(document).filter(([name]) => ALWAYS.has(name) || named.has(name) === showsNamed))
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
