/**
 * A request's hold on its `Idempotency-Key`: while it lasts, no other request with this key is made. What the request places
 * is written beside the key in the transaction that places it, and only by the holder, so that whoever holds the key next
 * finds it.
 */
export interface KeyHold {
  /** Of the key and all that it is scoped to: caller, group, method, path; hexadecimal. */
  readonly hash: string
  /** One request; a repeat that takes over is another. */
  readonly holder: string
  /** The number of the next thing that this request places: a repeat places the same things in the same sequence. */
  readonly next: () => number
}

/** The hold as one order carries it. */
export interface KeyedPlace {
  readonly hash: string
  readonly holder: string
  readonly n: number
}

/** The first answer, as repeats get it. */
export interface KeptAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly etag?: string | undefined
  /** Absent: an empty body. */
  readonly body?: unknown
}

export type Held =
  | { readonly state: 'held' }
  /** Somebody else holds it, and is alive. */
  | { readonly state: 'waiting' }
  /** It stands for another request. */
  | { readonly state: 'different' }
  | { readonly state: 'answered'; readonly answer: KeptAnswer }

/** Of what was asked, which may hold secrets: the one to be kept, and those that it may have been kept as under earlier secrets keys. */
export type Fingerprints = readonly [string, ...string[]]

/** Where keys are kept, shared by all replicas. A hold lasts a few seconds unless it is renewed. */
export interface IdempotencyKeys {
  hold(key: { readonly hash: string; readonly fingerprints: Fingerprints }, holder: string): Promise<Held>
  renew(holders: readonly string[]): Promise<void>
  /** Ends the hold with an answer for every repeat. */
  answer(hold: Pick<KeyHold, 'hash' | 'holder'>, answer: KeptAnswer): Promise<void>
  /** Ends the hold without one: the next request with this key goes on from what was placed. */
  release(hold: Pick<KeyHold, 'hash' | 'holder'>): Promise<void>
}
