import { strict as assert } from 'node:assert'
import type { Comparison, FieldKinds, FieldRef, FieldValue, Filter, SortKey } from '../core/query.ts'

/** How one field of a list is asked for in SQL. Texts of ours only: what a client sent goes into parameters. */
export type SqlField =
  | { readonly kind: 'text' | 'time' | 'boolean'; readonly sql: string; readonly nullable?: boolean }
  /** A jsonb object of texts. */
  | { readonly kind: 'map'; readonly sql: string }
  /** `has` takes the name of a text[] parameter and asks whether one of its elements is in the set. */
  | { readonly kind: 'set'; readonly has: (values: string) => string }

/** A noun's fields, each as core says it is. */
export type SqlFields<Kinds extends FieldKinds> = {
  readonly [Name in keyof Kinds]: SqlField & { readonly kind: Kinds[Name] }
}
type AnySqlFields = Readonly<Record<string, SqlField>>

/** Collects what a statement is sent with. */
export class Parameters {
  readonly values: unknown[] = []

  /** @returns the placeholder. */
  add(value: unknown, type: string): string {
    this.values.push(value)
    return `$${this.values.length}::${type}`
  }
}

const OPERATORS: Readonly<Record<Comparison, string>> = { eq: '=', ne: '<>', gt: '>', gte: '>=', lt: '<', lte: '<=' }
const TYPES = { text: 'text', time: 'timestamptz', boolean: 'boolean' } as const

/** A boolean expression, never null. */
export function filterSql(filter: Filter, fields: AnySqlFields, parameters: Parameters): string {
  if ('filters' in filter) {
    const parts = filter.filters.map((part) => filterSql(part, fields, parameters))
    return `(${parts.join(filter.kind === 'all' ? ' and ' : ' or ')})`
  }
  const field = fieldOf(fields, filter.field)
  if (filter.kind === 'among') return amongSql(field, filter, parameters)
  return compareSql(field, filter, parameters)
}

/** The keys of an `order by`, each with a comma behind it. */
export function sortSql(sort: readonly SortKey[], fields: AnySqlFields, parameters: Parameters): string {
  return sort.map(({ field: ref, descending }) => `${sortKeySql(ref, fields, parameters, descending)}, `).join('')
}

function sortKeySql(ref: FieldRef, fields: AnySqlFields, parameters: Parameters, descending: boolean): string {
  const field = fieldOf(fields, ref)
  assert(field.kind !== 'set', 'sets have no order')
  const direction = descending ? 'desc' : 'asc'
  if (field.kind !== 'map' && !field.nullable) return `${field.sql} ${direction}`
  const sql = field.kind === 'map' ? memberSql(field.sql, ref, parameters) : field.sql
  return `${sql} ${direction} nulls ${descending ? 'last' : 'first'}`
}

function fieldOf(fields: AnySqlFields, { name }: FieldRef): SqlField {
  const field = fields[name]
  assert(field, `no field ${name}`)
  return field
}

function memberSql(map: string, { key }: FieldRef, parameters: Parameters): string {
  assert(key !== undefined, 'of a map one member is sorted by or compared')
  return `${map} ->> ${parameters.add(key, 'text')}`
}

type Compare = Extract<Filter, { kind: 'compare' }>
type Among = Extract<Filter, { kind: 'among' }>

function compareSql(field: SqlField, { field: ref, comparison, value }: Compare, parameters: Parameters): string {
  const not = comparison === 'ne' ? 'not ' : ''
  if (field.kind === 'set') return `${not}${field.has(parameters.add([value], 'text[]'))}`
  if (field.kind === 'map') {
    if (ref.key === undefined) return `${field.sql} ${OPERATORS[comparison]} ${parameters.add(value, 'jsonb')}`
    if (value !== null && (comparison === 'eq' || comparison === 'ne')) {
      // Containment, because an index answers it.
      return `${not}${field.sql} @> ${parameters.add({ [ref.key]: value }, 'jsonb')}`
    }
  }
  const sql = field.kind === 'map' ? `(${memberSql(field.sql, ref, parameters)})` : scalarSql(field)
  return scalarCompareSql(sql, field.kind === 'map' ? 'text' : TYPES[field.kind], { comparison, value }, parameters)
}

/** What is absent is unlike every value, and neither greater nor less than any. */
function scalarCompareSql(
  sql: string,
  type: string,
  { comparison, value }: { readonly comparison: Comparison; readonly value: FieldValue },
  parameters: Parameters,
): string {
  if (value === null) return comparison === 'ne' ? `${sql} is not null` : `${sql} is null`
  const placeholder = parameters.add(value, type)
  if (comparison === 'eq') return `(${sql} is not null and ${sql} = ${placeholder})`
  if (comparison === 'ne') return `${sql} is distinct from ${placeholder}`
  return `coalesce(${sql} ${OPERATORS[comparison]} ${placeholder}, false)`
}

function amongSql(field: SqlField, { field: ref, values, negated }: Among, parameters: Parameters): string {
  const not = negated ? 'not ' : ''
  const present = values.filter((value) => value !== null)
  if (field.kind === 'set') return `${not}${field.has(parameters.add(present, 'text[]'))}`
  const sql = field.kind === 'map' ? `(${memberSql(field.sql, ref, parameters)})` : scalarSql(field)
  const type = field.kind === 'map' ? 'text' : TYPES[field.kind]
  const among = `(${sql} is not null and ${sql} = any(${parameters.add(present, `${type}[]`)}))`
  return `${not}${present.length < values.length ? `(${sql} is null or ${among})` : among}`
}

/** Clients see whole seconds, so that is what they compare with. */
function scalarSql(field: Extract<SqlField, { readonly sql: string }>): string {
  return field.kind === 'time' ? `date_trunc('second', ${field.sql})` : field.sql
}
