/** One page of a list; `nextCursor` is null on the last. Cursors are opaque to clients. */
export interface Page<Item> {
  readonly items: readonly Item[]
  readonly nextCursor: string | null
}

export interface PageRequest {
  readonly limit: number
  readonly cursor?: string | undefined
}
