import { everyPage } from '../../core/every-page.ts'
import type { Page, PageRequest } from '../../core/page.ts'

const PAGE = 20_000

/** Empty where there is no next page, and where none was asked for. */
export interface Next {
  readonly next_marker?: string
}

/** The page that was asked for, or all that there is behind the marker. @throws too_large */
export async function wholeList<Item>(
  query: { readonly limit?: number | undefined; readonly marker?: string | undefined },
  list: (page: PageRequest) => Promise<Page<Item>>,
): Promise<{ readonly items: readonly Item[]; readonly next: Next }> {
  const { limit = PAGE, marker: cursor } = query
  const { items, nextCursor } = await list({ limit, cursor })
  if (nextCursor === null) return { items, next: {} }
  if (query.limit !== undefined) return { items, next: { next_marker: nextCursor } }
  const rest = await everyPage((page) => list({ limit: page.limit, cursor: page.cursor ?? nextCursor }), PAGE)
  return { items: [...items, ...rest], next: {} }
}
