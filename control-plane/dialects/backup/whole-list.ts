import { everyPage } from '../../core/every-page.ts'
import type { Page, PageRequest } from '../../core/page.ts'

const PAGE = 20_000

export interface Listed<View> {
  readonly items: View[]
  /** Empty where there is no next page, and where none was asked for. */
  readonly next: { readonly next_marker?: string }
}

/** The page that was asked for, or all that there is behind the marker. @throws too_large */
export async function wholeList<Item, View>(
  query: { readonly limit?: number | undefined; readonly marker?: string | undefined },
  list: (page: PageRequest) => Promise<Page<Item>>,
  present: (item: Item) => View,
): Promise<Listed<View>> {
  const { limit, marker } = query
  if (limit === undefined) {
    const all = await everyPage(({ cursor = marker, limit: size }) => list({ limit: size, cursor }), PAGE)
    return { items: all.map(present), next: {} }
  }
  const { items, nextCursor } = await list({ limit, cursor: marker })
  return { items: items.map(present), next: nextCursor === null ? {} : { next_marker: nextCursor } }
}
