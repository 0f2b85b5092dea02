import test from 'ava'
import fc from 'fast-check'
import { ROOT, startDirectory } from '../../../test/harness/directory.ts'
import type { Filter } from '../../core/query.ts'
import type { UserField } from '../../core/users.ts'
import { WireError } from '../../http/route.ts'
import { parseProjection } from './projection.ts'
import { parseSort } from './sort.ts'
import { parseWhere } from './where.ts'
import type { WireFields } from './wire-fields.ts'

const FIELDS = {
  _id: { name: 'id', kind: 'text' },
  name: { name: 'name', kind: 'text' },
  role: { name: 'role', kind: 'text' },
  disabled: { name: 'disabled', kind: 'boolean' },
  certificates: { name: 'certificates', kind: 'set' },
  tags: { name: 'tags', kind: 'map' },
  _created: { name: 'createdAt', kind: 'time' },
} as const satisfies WireFields<UserField>

const where = (condition: unknown) => parseWhere(JSON.stringify(condition), FIELDS)

function reasonOf(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    if (error instanceof WireError && error.status === 400) return JSON.stringify(error.body)
    throw error
  }
  return 'taken'
}

test('conditions become plain values', (t) => {
  t.is(where({}), undefined)
  t.deepEqual(where({ name: 'a' }), { kind: 'compare', field: { name: 'name' }, comparison: 'eq', value: 'a' })
  t.deepEqual(where({ 'tags.a.b': { $in: ['x', null] } }), {
    kind: 'among',
    field: { name: 'tags', key: 'a.b' },
    values: ['x', null],
    negated: false,
  })
  t.like(where({ _created: { $gt: 'Wed, 06 Apr 2022 22:34:51 GMT', $lt: '2023-01-01T00:00:00+01:00' } }), {
    kind: 'all',
    filters: [{ value: new Date('2022-04-06T22:34:51Z') }, { value: new Date('2022-12-31T23:00:00Z') }],
  })
  // Whatever is joined with `or` to what is always true is always true.
  t.is(where({ $or: [{ name: 'a' }, {}] }), undefined)
})

test('what cannot be asked for is named', (t) => {
  const deep = (levels: number): unknown => (levels === 0 ? { name: 'a' } : { $and: [deep(levels - 1)] })
  for (const [condition, named] of [
    [{ $where: 'sleep(1)' }, '$where'],
    [{ name: { $regex: '.*' } }, '$regex'],
    [{ name: { $gt: 'a', b: 1 } }, "'b'"],
    [{ $and: [] }, '$and'],
    [{ $or: {} }, '$or'],
    [{ password: 'x' }, 'password'],
    [{ 'name.x': 'x' }, 'name.x'],
    [{ 'tags.': 'x' }, 'tags.'],
    [{ constructor: 'x' }, 'constructor'],
    [{ name: 5 }, 'name'],
    [{ name: 'a\0' }, 'name'],
    [{ name: '\ud800' }, 'name'],
    [{ disabled: 'true' }, 'disabled'],
    [{ disabled: { $gt: true } }, 'disabled'],
    [{ tags: { $gt: {} } }, 'tags'],
    [{ tags: { a: 1 } }, 'tags'],
    [{ tags: { $in: [{}] } }, 'tags'],
    [{ certificates: ['a'] }, 'certificates'],
    [{ _created: 'yesterday' }, '_created'],
    [{ _created: 'Thu, 31 Feb 2022 22:34:51 GMT' }, '_created'],
    [{ name: { $in: 'a' } }, 'name'],
    [{ name: { $in: Array(201).fill('a') } }, '200'],
    [{ $or: Array.from({ length: 65 }, () => ({ name: 'a' })) }, '64'],
    [{ $and: [{ $or: Array(40).fill({ name: 'a' }) }, { $or: Array(40).fill({ name: 'a' }) }] }, '64'],
    [deep(8), 'deeper'],
    [[], 'object'],
    [null, 'object'],
    ['name', 'object'],
  ] as const) {
    t.true(reasonOf(() => where(condition)).includes(named), `${JSON.stringify(condition)} ${named}`)
  }
  t.true(reasonOf(() => parseWhere('{', FIELDS)).includes('JSON'))
  t.truthy(where(deep(7)))
})

test('sorting takes names and tuples', (t) => {
  const byName = { field: { name: 'name' as const }, descending: true }
  const byTag = { field: { name: 'tags' as const, key: 'a' }, descending: false }
  t.deepEqual(parseSort('-name,tags.a', FIELDS), [byName, byTag])
  t.deepEqual(parseSort(`[('name', -1), ("tags.a", 1)]`, FIELDS), [byName, byTag])
  for (const bad of ['', 'x', 'tags', 'certificates', '[(', '[("name", 2)]', 'name,'.repeat(9)]) {
    t.not(
      reasonOf(() => parseSort(bad, FIELDS)),
      'taken',
      bad,
    )
  }
})

test('a projection shows or hides members, never those that name the document', (t) => {
  const document = { _id: '1', name: 'a', tags: {}, _etag: 'e' }
  const members = Object.keys(document)
  const project = (choice: unknown) => Object.keys(parseProjection(JSON.stringify(choice), members)(document))
  t.deepEqual(project({ name: 1 }), ['_id', 'name', '_etag'])
  t.deepEqual(project({ tags: 0, _id: 0 }), ['_id', 'name', '_etag'])
  t.deepEqual(project({}), members)
  for (const bad of [{ name: 1, tags: 0 }, { secret: 1 }, { name: 2 }, JSON.parse('{"__proto__": 1}'), [], 'name']) {
    t.not(
      reasonOf(() => project(bad)),
      'taken',
      JSON.stringify(bad),
    )
  }
})

const PEOPLE = ['a', 'b', 'c', 'd', 'e', 'f'].map((name, n) => ({
  name,
  password: null,
  role: ([null, 'viewer', 'operator'] as const)[n % 3] ?? null,
  disabled: n % 2 === 0,
  certificates: n < 2 ? [] : [`dns:${name}`, `uri:${name}`],
  tags: n === 0 ? {} : { x: String(n % 3), ...(n > 3 ? { 'odd key': "it's" } : {}) },
}))

const text = fc.constantFrom('a', 'c', 'f', 'viewer', 'operator', '0', '1', "it's", '', '%', 'zz', "') or true --")
const scalar = fc.oneof(text, fc.constant(null))
const operators = (value: fc.Arbitrary<unknown>) =>
  fc.oneof(
    value,
    fc.tuple(fc.constantFrom('$ne'), value).map(([name, given]) => ({ [name]: given })),
    fc
      .tuple(fc.constantFrom('$in', '$nin'), fc.array(value, { maxLength: 3 }))
      .map(([name, given]) => ({ [name]: given })),
  )
const ordered = fc
  .tuple(fc.constantFrom('$gt', '$gte', '$lt', '$lte'), text)
  .map(([name, given]) => ({ [name]: given }))
const leaf = fc.oneof(
  fc.record({ name: fc.oneof(operators(text), ordered) }),
  fc.record({ role: fc.oneof(operators(scalar), ordered) }),
  fc.record({ 'tags.x': fc.oneof(operators(scalar), ordered) }),
  fc.record({ 'tags.odd key': operators(scalar) }),
  fc.record({ disabled: operators(fc.boolean()) }),
  fc.record({ certificates: operators(fc.constantFrom('dns:c', 'uri:d', 'dns:nobody')) }),
  fc.record({ tags: fc.oneof(fc.constant({}), fc.constant({ x: '1' }), fc.constant({ $ne: { x: '1' } })) }),
)
const { condition } = fc.letrec<{ condition: unknown }>((tie) => ({
  condition: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    leaf,
    fc
      .tuple(fc.constantFrom('$and', '$or'), fc.array(tie('condition'), { minLength: 1, maxLength: 3 }))
      .map(([name, given]) => ({ [name]: given })),
  ),
}))

/** What MongoDB would say of one document. */
function matches(filter: Filter<UserField>, person: (typeof PEOPLE)[number]): boolean {
  if ('filters' in filter) {
    return filter.kind === 'all'
      ? filter.filters.every((part) => matches(part, person))
      : filter.filters.some((part) => matches(part, person))
  }
  const tags: Readonly<Record<string, string | undefined>> = person.tags
  const { name, key } = filter.field
  const held: unknown = key === undefined ? person[name as keyof typeof person] : (tags[key] ?? null)
  const is = (value: unknown) =>
    Array.isArray(held) ? held.includes(value) : JSON.stringify(held) === JSON.stringify(value)
  if (filter.kind === 'among') return filter.values.some(is) !== filter.negated
  const { comparison, value } = filter
  if (comparison === 'eq' || comparison === 'ne') return is(value) === (comparison === 'eq')
  if (typeof held !== 'string' || typeof value !== 'string') return false
  if (comparison === 'gt') return held > value
  if (comparison === 'gte') return held >= value
  return comparison === 'lt' ? held < value : held <= value
}

test('Postgres and a reading of MongoDB find the same documents', async (t) => {
  const { users } = await startDirectory(t)
  for (const person of PEOPLE) await users.create(ROOT, person)
  const found = async (filter: Filter<UserField> | undefined) => {
    const { items, total } = await users.list(ROOT, { filter, sort: [], offset: 0, limit: 50 })
    t.is(total, items.length)
    return items.map(({ name }) => name)
  }
  await fc.assert(
    fc.asyncProperty(condition, async (asked) => {
      const filter = where(asked)
      const expected = PEOPLE.filter((person) => filter === undefined || matches(filter, person))
      t.deepEqual(
        await found(filter),
        expected.map(({ name }) => name),
        JSON.stringify(asked),
      )
    }),
    { numRuns: 400 },
  )
})

test('whatever is asked is answered or named, and never breaks anything', async (t) => {
  const { users } = await startDirectory(t)
  const junk = fc.oneof(
    fc.json(),
    fc.string({ unit: 'binary' }),
    fc
      .dictionary(
        fc.oneof(fc.constantFrom(...Object.keys(FIELDS), 'tags.a', '$and', '$or', '$in', '__proto__'), fc.string()),
        fc.oneof(fc.jsonValue(), fc.dictionary(fc.constantFrom('$gt', '$ne', '$in', '$nin', '$x'), fc.jsonValue())),
        { maxKeys: 4 },
      )
      .map((value) => JSON.stringify(value)),
  )
  await fc.assert(
    fc.asyncProperty(junk, junk, async (filter, sort) => {
      const asked: { filter?: Filter<UserField> | undefined } = {}
      if (reasonOf(() => (asked.filter = parseWhere(filter, FIELDS))) !== 'taken') return
      const keys: { sort?: ReturnType<typeof parseSort<UserField>> } = {}
      reasonOf(() => (keys.sort = parseSort(sort, FIELDS)))
      await t.notThrowsAsync(() =>
        users.list(ROOT, { filter: asked.filter, sort: keys.sort ?? [], offset: 0, limit: 1 }),
      )
    }),
    { numRuns: 1000 },
  )
})

test('lists are sorted in SQL, what is absent first, and ties by creation', async (t) => {
  const { users } = await startDirectory(t)
  for (const person of PEOPLE.toReversed()) await users.create(ROOT, person)
  const sorted = async (sort: string) => {
    const { items } = await users.list(ROOT, { filter: undefined, sort: parseSort(sort, FIELDS), offset: 0, limit: 50 })
    return items.map(({ name }) => name).join('')
  }
  t.is(await sorted('name'), 'abcdef')
  t.is(await sorted('-name'), 'fedcba')
  t.is(await sorted('role,name'), 'adcfbe')
  t.is(await sorted('-role'), 'ebfcda')
  t.is(await sorted('tags.x,-name'), 'adebfc')
})
