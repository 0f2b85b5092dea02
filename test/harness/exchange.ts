import { z } from 'zod'

/**
 * Documented exchanges, as `dialects/<name>/exchanges/*.json` hold them: requests in order, and what must come back.
 *
 * In every string of a request or expectation `${name}` stands for a variable: given to the replay (`${run}` is always
 * there, unique per replay) or captured before. A string that is nothing but `${name}` keeps the variable's type.
 *
 * An expected object may have further members in the answer; an expected array has exactly these elements. Strings of
 * the form `<…>` match a kind of value: `<any> <string> <text> <integer> <number> <boolean> <null> <uuid> <epoch> <iso>
 * <absent>`; `<text>` is a string that is not empty. `</…/>` is a regular expression. `{"<contains>": […]}` matches an
 * array that has, for each listed element, one that matches it.
 */
const Step = z.strictObject({
  name: z.string().min(1),
  request: z.strictObject({
    method: z.enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']),
    path: z.string().startsWith('/'),
    headers: z.record(z.string(), z.string()).optional(),
    /** Sent as JSON; a string is sent as it is, to be malformed on purpose. */
    body: z.unknown().optional(),
  }),
  expect: z.strictObject({
    status: z.number().int(),
    headers: z.record(z.string(), z.string()).optional(),
    /** `"<absent>"`: an empty body. */
    body: z.unknown().optional(),
  }),
  /** Variable → where in the answer's body: `id`, `datasets.0.name`. */
  capture: z.record(z.string(), z.string()).optional(),
})
export type Step = z.infer<typeof Step>

export const Exchange = z.strictObject({
  title: z.string().min(1),
  /** The document and its heading. */
  source: z.string().min(1),
  steps: z.array(Step).min(1),
})
export type Exchange = z.infer<typeof Exchange>

export type Variables = Readonly<Record<string, unknown>>

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
/** 2020 to 2100, in seconds: a value in milliseconds is no epoch here. */
const EPOCH_RANGE_S = [1_577_836_800, 4_102_444_800] as const

const KINDS: Readonly<Record<string, (value: unknown) => boolean>> = {
  any: (value) => value !== undefined,
  string: (value) => typeof value === 'string',
  text: (value) => typeof value === 'string' && value.length > 0,
  integer: Number.isInteger,
  number: (value) => typeof value === 'number',
  boolean: (value) => typeof value === 'boolean',
  null: (value) => value === null,
  uuid: (value) => typeof value === 'string' && UUID.test(value),
  epoch: (value) => Number.isInteger(value) && Number(value) > EPOCH_RANGE_S[0] && Number(value) < EPOCH_RANGE_S[1],
  iso: (value) => typeof value === 'string' && z.iso.datetime().safeParse(value).success,
  absent: (value) => value === undefined,
}

/** Puts variables in. @throws Error for one that is not known: a slip in the exchange. */
export function substitute(template: unknown, variables: Variables): unknown {
  if (typeof template === 'string') return substituteText(template, variables)
  if (Array.isArray(template)) return template.map((element) => substitute(element, variables))
  if (typeof template !== 'object' || template === null) return template
  return Object.fromEntries(Object.entries(template).map(([key, value]) => [key, substitute(value, variables)]))
}

function substituteText(template: string, variables: Variables): unknown {
  const lookUp = (name: string): unknown => {
    if (name in variables) return variables[name]
    throw new Error(`no variable ${name}`)
  }
  const whole = /^\$\{(\w+)\}$/.exec(template)?.[1]
  if (whole !== undefined) return lookUp(whole)
  return template.replaceAll(/\$\{(\w+)\}/g, (_, name: string) => String(lookUp(name)))
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function differ(where: string, expected: unknown, actual: unknown): readonly string[] {
  return [`${where}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`]
}

function compareText(expected: string, actual: unknown, where: string): readonly string[] {
  const kind = /^<(\w+)>$/.exec(expected)?.[1]
  const matches = kind === undefined ? undefined : KINDS[kind]
  if (matches) return matches(actual) ? [] : differ(where, expected, actual)
  const pattern = /^<\/(.*)\/>$/s.exec(expected)?.[1]
  if (pattern === undefined) return expected === actual ? [] : differ(where, expected, actual)
  return new RegExp(pattern).test(String(actual)) ? [] : differ(where, expected, actual)
}

function compareContains(wanted: readonly unknown[], actual: unknown, where: string): readonly string[] {
  if (!Array.isArray(actual)) return differ(where, wanted, actual)
  const missing = wanted.filter(
    (element) => !actual.some((candidate) => compare(element, candidate, where).length === 0),
  )
  return missing.flatMap((element) => differ(`${where}, some element`, element, actual))
}

/** What in `actual` is not as `expected` says; nothing when it is. */
export function compare(expected: unknown, actual: unknown, where = 'body'): readonly string[] {
  if (typeof expected === 'string') return compareText(expected, actual, where)
  if (Array.isArray(expected)) {
    if (!Array.isArray(actual) || actual.length !== expected.length) return differ(where, expected, actual)
    return expected.flatMap((element, index) => compare(element, actual[index], `${where}.${index}`))
  }
  if (!isRecord(expected)) return expected === actual ? [] : differ(where, expected, actual)
  const contained = expected['<contains>']
  if (Array.isArray(contained)) return compareContains(contained, actual, where)
  if (!isRecord(actual)) return differ(where, expected, actual)
  return Object.entries(expected).flatMap(([key, value]) => compare(value, actual[key], `${where}.${key}`))
}

/** The value at `datasets.0.name`. */
export function valueAt(body: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((value, key) => {
    if (Array.isArray(value)) return value[Number(key)]
    return isRecord(value) ? value[key] : undefined
  }, body)
}
