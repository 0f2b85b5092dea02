import { FleetError } from '../../shared/errors.ts'
import type { Page, PageRequest } from './page.ts'

const PAGE = 500
/** Nobody has so many; a list without an end would be worse. */
const PAGES_MAX = 100

/** The whole of a list, for dialects whose lists have no pages. @throws too_large */
export async function everyPage<Item>(
  list: (page: PageRequest) => Promise<Page<Item>>,
  size = PAGE,
): Promise<readonly Item[]> {
  const max = PAGE * PAGES_MAX
  const items: Item[] = []
  let cursor: string | undefined
  while (items.length < max) {
    const page = await list({ limit: size, cursor })
    items.push(...page.items)
    if (page.nextCursor === null) return items
    cursor = page.nextCursor
  }
  throw new FleetError('too_large', `there are more than ${max}`)
}
