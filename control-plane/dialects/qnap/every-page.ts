import { FleetError } from '../../../shared/errors.ts'
import type { Page, PageRequest } from '../../core/page.ts'

const PAGE = 500
/** Nobody has so many; a list without an end would be worse. */
const PAGES_MAX = 100

/** The whole of a list, which has no pages in this dialect. @throws too_large */
export async function everyPage<Item>(list: (page: PageRequest) => Promise<Page<Item>>): Promise<readonly Item[]> {
  const items: Item[] = []
  let cursor: string | undefined
  for (let pages = 0; pages < PAGES_MAX; pages += 1) {
    const page = await list({ limit: PAGE, cursor })
    items.push(...page.items)
    if (page.nextCursor === null) return items
    cursor = page.nextCursor
  }
  throw new FleetError('too_large', `there are more than ${PAGES_MAX * PAGE}`)
}
