import { z } from 'zod'
import type { Paging } from './paging.ts'

/** Hrefs are relative to `/api/v1/`, as Eve's are to its root. */
const Link = z.object({ title: z.string(), href: z.string() })

export const DocumentLinks = z.object({ self: Link, parent: Link, collection: Link })
export const ListLinks = z.object({
  self: Link,
  parent: Link,
  next: Link.optional(),
  prev: Link.optional(),
  last: Link.optional(),
})

const HOME = { title: 'home', href: '/' }

export function documentLinks(collection: string, title: string, id: string): z.infer<typeof DocumentLinks> {
  return {
    self: { title, href: `${collection}/${id}` },
    parent: HOME,
    collection: { title: collection, href: collection },
  }
}

/** @param query everything that was asked but the page. */
export function listLinks(
  collection: string,
  query: Readonly<Record<string, string | undefined>>,
  { page, maxResults, total }: Paging & { readonly total: number },
): z.infer<typeof ListLinks> {
  const pages = Math.max(1, Math.ceil(total / maxResults))
  const link = (title: string, to: number) => {
    const parameters = new URLSearchParams()
    for (const [name, value] of Object.entries(query)) if (value !== undefined) parameters.set(name, value)
    if (to > 1) parameters.set('page', String(to))
    return { title, href: parameters.size === 0 ? collection : `${collection}?${parameters}` }
  }
  return {
    self: link(collection, page),
    parent: HOME,
    ...(page < pages && { next: link('next page', page + 1), last: link('last page', pages) }),
    ...(page > 1 && { prev: link('previous page', Math.min(page - 1, pages)) }),
  }
}
