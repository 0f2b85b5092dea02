/** Less than NATS takes in one message, and than one item of a page may need. */
export const PAGE_BYTES = 500_000

/** As many as one message takes, at least one: none is larger than that. */
export function fitting<Item>(items: readonly Item[]): readonly Item[] {
  let bytes = 0
  const end = items.findIndex((item, n) => {
    bytes += Buffer.byteLength(JSON.stringify(item))
    return n > 0 && bytes > PAGE_BYTES
  })
  return end < 0 ? items : items.slice(0, end)
}
