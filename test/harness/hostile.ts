import fc from 'fast-check'

/** Values that no client means: what breaks parsers, databases, file systems and JavaScript itself. */
const HOSTILE_TEXTS = [
  '',
  ' ',
  '\0',
  'a\0b',
  '\ud800',
  'a\udfffb',
  '\u202e',
  '\ufeff',
  'é'.normalize('NFD'),
  '../../etc/passwd',
  '/',
  '..',
  '.',
  '%00',
  '%',
  "'; drop table job; --",
  '$(id)',
  '`id`',
  '__proto__',
  'constructor',
  'toString',
  'null',
  'undefined',
  'NaN',
  '-1',
  '1e309',
  '9223372036854775808',
  '99999999999999999999999999',
  'x'.repeat(300),
  'x'.repeat(70_000),
  'ä'.repeat(5_000),
  '01900000-0000-7000-8000-00000000dead',
  '{"$where": "1"}',
  'a,b',
  '\r\nSet-Cookie: x=y',
]

const HOSTILE_NUMBERS = [0, -0, -1, 0.5, 2 ** 31, -(2 ** 31) - 1, 2 ** 53, 2 ** 63, 1e308, -1e308, 5e-324]

/** JSON that `JSON.stringify` would not write. */
const HOSTILE_JSON = [
  `${'['.repeat(20_000)}${']'.repeat(20_000)}`,
  `${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`,
  '{"__proto__": {"polluted": true}}',
  '{"constructor": {"prototype": {"polluted": true}}}',
  '1e400',
  '"\\ud800"',
  '"\\u0000"',
]

export const hostileText = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...HOSTILE_TEXTS) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }) },
  { weight: 1, arbitrary: fc.string({ unit: 'grapheme', maxLength: 300 }) },
)

/** A value as JSON text. */
const hostileJson: fc.Arbitrary<string> = fc.oneof(
  hostileText.map((text) => JSON.stringify(text)),
  fc.constantFrom(...HOSTILE_NUMBERS).map(String),
  fc.constantFrom(...HOSTILE_JSON),
  fc.constantFrom('true', 'false', 'null', '[]', '{}', '[null]', '[[]]'),
  fc.json({ maxDepth: 4 }),
)

/** What is not JSON at all. */
const brokenText = fc.oneof(
  fc.constantFrom(
    '',
    '{',
    '{"a":',
    '[1,]',
    "{'a': 1}",
    'NaN',
    '\ufeff{}',
    '{"a": 1} {"b": 2}',
    '{"a": 1, "a": 2',
    'a=1&b=2',
  ),
  fc.string({ unit: 'binary', maxLength: 30 }),
)

function mutated(base: Readonly<Record<string, unknown>>): fc.Arbitrary<string> {
  const names = Object.keys(base)
  const membersOf = (value: Readonly<Record<string, unknown>>) =>
    Object.entries(value).map(([name, member]) => `${JSON.stringify(name)}:${JSON.stringify(member)}`)
  const replace = fc
    .tuple(fc.constantFrom(...(names.length > 0 ? names : ['name'])), hostileJson)
    .map(([name, json]) => {
      const { [name]: _, ...others } = base
      return `{${[...membersOf(others), `${JSON.stringify(name)}:${json}`].join(',')}}`
    })
  const remove = fc
    .subarray(names)
    .map((kept) => `{${membersOf(Object.fromEntries(kept.map((name) => [name, base[name]]))).join(',')}}`)
  const add = fc
    .tuple(hostileText, hostileJson)
    .map(([name, json]) => `{${[...membersOf(base), `${JSON.stringify(name)}:${json}`].join(',')}}`)
  return fc.oneof(replace, replace, remove, add)
}

/** Bodies near `examples`, and bodies far from anything. */
export function hostileBody(examples: readonly Readonly<Record<string, unknown>>[]): fc.Arbitrary<string> {
  const near = examples.map(mutated)
  return fc.oneof(...near, ...near, ...near, hostileJson, brokenText)
}
