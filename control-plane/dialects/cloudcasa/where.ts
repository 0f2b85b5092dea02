import type { Comparison, FieldKind, FieldValue, Filter } from '../../core/query.ts'
import { badQuery } from './bad-query.ts'
import { parseDate } from './dates.ts'
import { type FoundField, findField, isStorable, type WireFields } from './wire-fields.ts'

const DEPTH_MAX = 8
const CONDITIONS_MAX = 64
const VALUES_MAX = 200

/** MongoDB's operators that are understood. Nothing runs code (`$where`) or takes long (`$regex`). */
const COMPARISONS: Readonly<Record<string, Comparison>> = { $gt: 'gt', $gte: 'gte', $lt: 'lt', $lte: 'lte', $ne: 'ne' }
const AMONG: Readonly<Record<string, boolean>> = { $in: false, $nin: true }
const LOGIC: Readonly<Record<string, 'all' | 'any'>> = { $and: 'all', $or: 'any' }

/** Kinds that only are or are not something. */
const UNORDERED: readonly FieldKind[] = ['boolean', 'set']

/** @throws WireError 400, naming what is wrong. */
export function parseWhere<Name extends string>(text: string, fields: WireFields<Name>): Filter<Name> | undefined {
  let conditions = 0

  function parseObject(value: unknown, depth: number): Filter<Name> | undefined {
    if (!isObject(value)) throw badQuery('where', 'must be a JSON object')
    if (depth > DEPTH_MAX) throw badQuery('where', `must not nest deeper than ${DEPTH_MAX}`)
    const filters = Object.entries(value).flatMap(([key, operand]) =>
      key.startsWith('$') ? parseLogic(key, operand, depth) : parseField(key, operand),
    )
    return joined('all', filters)
  }

  function parseLogic(operator: string, operand: unknown, depth: number): readonly Filter<Name>[] {
    const kind = own(LOGIC, operator)
    if (kind === undefined) throw unknownOperator(operator)
    if (!Array.isArray(operand) || operand.length === 0 || operand.length > CONDITIONS_MAX) {
      throw badQuery('where', `${operator} needs a list of 1 to ${CONDITIONS_MAX} conditions`)
    }
    const filters = operand.map((part) => parseObject(part, depth + 1))
    // An empty condition is always true.
    const present = filters.filter((filter) => filter !== undefined)
    if (kind === 'any' && present.length < filters.length) return []
    const filter = joined(kind, present)
    return filter === undefined ? [] : [filter]
  }

  function parseField(spelled: string, operand: unknown): readonly Filter<Name>[] {
    const field = findField(fields, spelled)
    if (field === undefined) throw badQuery('where', `'${spelled}' is not a field that can be asked for`)
    const operators = isObject(operand) ? Object.entries(operand) : []
    if (!operators.some(([key]) => key.startsWith('$'))) return [compare(spelled, field, 'eq', operand)]
    return operators.map(([operator, value]) => {
      const comparison = own(COMPARISONS, operator)
      if (comparison !== undefined) return compare(spelled, field, comparison, value)
      const negated = own(AMONG, operator)
      if (negated === undefined) throw unknownOperator(operator)
      return among(spelled, field, negated, value)
    })
  }

  function count(): void {
    conditions += 1
    if (conditions > CONDITIONS_MAX) throw badQuery('where', `must hold at most ${CONDITIONS_MAX} conditions`)
  }

  function compare(spelled: string, field: FoundField<Name>, comparison: Comparison, value: unknown): Filter<Name> {
    count()
    const whole = field.kind === 'map' && field.ref.key === undefined
    const equality = comparison === 'eq' || comparison === 'ne'
    if (!equality && (whole || value === null || UNORDERED.includes(field.kind))) {
      throw badQuery('where', `'${spelled}' can be equal or not, neither more nor less`)
    }
    return { kind: 'compare', field: field.ref, comparison, value: parseValue(spelled, field, value) }
  }

  function among(spelled: string, field: FoundField<Name>, negated: boolean, values: unknown): Filter<Name> {
    count()
    if (!Array.isArray(values) || values.length > VALUES_MAX || (field.kind === 'map' && field.ref.key === undefined)) {
      throw badQuery('where', `'${spelled}': $in and $nin need a list of at most ${VALUES_MAX} values`)
    }
    return {
      kind: 'among',
      field: field.ref,
      negated,
      values: values.map((value) => parseValue(spelled, field, value)),
    }
  }

  return parseObject(parseJson(text), 1)
}

function joined<Name extends string>(kind: 'all' | 'any', filters: readonly Filter<Name>[]): Filter<Name> | undefined {
  return filters.length > 1 ? { kind, filters } : filters[0]
}

function own<Value>(table: Readonly<Record<string, Value>>, key: string): Value | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw badQuery('where', 'is not valid JSON')
  }
}

function unknownOperator(operator: string) {
  return badQuery('where', `the operator '${operator}' is not known`)
}

/** @throws WireError 400 for a value that the field can never have. */
function parseValue(spelled: string, { kind, ref }: FoundField<string>, value: unknown): FieldValue {
  const wrong = (wanted: string) => badQuery('where', `'${spelled}' is compared with ${wanted}`)
  if (kind === 'map' && ref.key === undefined) {
    if (isObject(value) && Object.entries(value).flat().every(isText)) return value as Readonly<Record<string, string>>
    throw wrong('an object of texts')
  }
  if (value === null && kind !== 'set') return null
  if (kind === 'boolean') {
    if (typeof value === 'boolean') return value
    throw wrong('true or false')
  }
  if (!isText(value)) throw wrong(kind === 'time' ? 'a date' : 'a text')
  if (kind !== 'time') return value
  const date = parseDate(value)
  if (date === undefined) throw wrong("a date like 'Wed, 06 Apr 2022 22:34:51 GMT'")
  return date
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && isStorable(value)
}
