/**
 * What a list may be asked for, in plain values: a dialect makes it of its own syntax, `db/query-sql.ts` makes SQL of it.
 * Field names are a noun's own; each noun says in a `FieldKinds` which it has.
 */

/** `set`: many ids, of which a comparison asks whether one is among them. `map`: tags, asked by key or as a whole. */
export type FieldKind = 'text' | 'time' | 'boolean' | 'set' | 'map'
export type FieldKinds = Readonly<Record<string, FieldKind>>

export interface FieldRef<Name extends string = string> {
  readonly name: Name
  /** Of a map: the one member that is meant. */
  readonly key?: string
}

export type FieldValue = string | boolean | Date | null | Readonly<Record<string, string>>

export const COMPARISONS = ['eq', 'ne', 'gt', 'gte', 'lt', 'lte'] as const
export type Comparison = (typeof COMPARISONS)[number]

export type Filter<Name extends string = string> =
  | {
      readonly kind: 'compare'
      readonly field: FieldRef<Name>
      readonly comparison: Comparison
      readonly value: FieldValue
    }
  | {
      readonly kind: 'among'
      readonly field: FieldRef<Name>
      readonly values: readonly FieldValue[]
      readonly negated: boolean
    }
  /** Never empty. */
  | { readonly kind: 'all' | 'any'; readonly filters: readonly Filter<Name>[] }

export interface SortKey<Name extends string = string> {
  readonly field: FieldRef<Name>
  readonly descending: boolean
}

export interface ListRequest<Name extends string = string> {
  readonly filter: Filter<Name> | undefined
  /** Ties, and everything when it is empty, are in order of creation. */
  readonly sort: readonly SortKey<Name>[]
  readonly offset: number
  readonly limit: number
}

/** One slice of a list, and how many there are in all. */
export interface Listing<Item> {
  readonly items: readonly Item[]
  readonly total: number
}
