import { badQuery } from './bad-query.ts'

const DEFAULT = 25
const MAX = 50
/** Beyond it there is nothing to see, and offsets would only grow. */
const PAGE_MAX = 1_000_000

export interface Paging {
  readonly page: number
  readonly maxResults: number
}

/** More than 50 a page gives 50. @throws WireError 400. */
export function parsePaging(query: {
  readonly page?: string | undefined
  readonly max_results?: string | undefined
}): Paging {
  const page = parseCount('page', query.page, 1)
  const maxResults = parseCount('max_results', query.max_results, DEFAULT)
  return { page: Math.min(page, PAGE_MAX), maxResults: Math.min(maxResults, MAX) }
}

function parseCount(name: string, text: string | undefined, usual: number): number {
  if (text === undefined) return usual
  if (!/^\d{1,15}$/.test(text) || Number(text) === 0) throw badQuery(name, 'must be a whole number from 1 on')
  return Number(text)
}
