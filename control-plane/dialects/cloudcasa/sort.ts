import { z } from 'zod'
import type { SortKey } from '../../core/query.ts'
import { badQuery } from './bad-query.ts'
import { findField, type WireFields } from './wire-fields.ts'

const KEYS_MAX = 8

const Tuples = z.array(z.tuple([z.string(), z.union([z.literal(1), z.literal(-1)])]))

/** `-name,_created`, or Python's `[("name", -1), ("_created", 1)]`. @throws WireError 400. */
export function parseSort<Name extends string>(text: string, fields: WireFields<Name>): readonly SortKey<Name>[] {
  const keys = text.trimStart().startsWith('[') ? parseTuples(text) : parseNames(text)
  if (keys.length > KEYS_MAX) throw badQuery('sort', `must name at most ${KEYS_MAX} fields`)
  return keys.map(({ spelled, descending }) => {
    const field = findField(fields, spelled)
    if (field === undefined || field.kind === 'set' || (field.kind === 'map' && field.ref.key === undefined)) {
      throw badQuery('sort', `'${spelled}' is not a field that can be sorted by`)
    }
    return { field: field.ref, descending }
  })
}

interface SpelledKey {
  readonly spelled: string
  readonly descending: boolean
}

function parseNames(text: string): readonly SpelledKey[] {
  return text.split(',').map((part) => {
    const key = part.trim()
    return { spelled: key.replace(/^[+-]/, ''), descending: key.startsWith('-') }
  })
}

function parseTuples(text: string): readonly SpelledKey[] {
  const json = text.replaceAll('(', '[').replaceAll(')', ']').replaceAll("'", '"')
  const parsed = Tuples.safeParse(tryJson(json))
  if (!parsed.success) throw badQuery('sort', 'must be names with commas between, or a list of tuples')
  return parsed.data.map(([spelled, direction]) => ({ spelled, descending: direction === -1 }))
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
