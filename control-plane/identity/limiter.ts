import { hash } from 'node:crypto'
import { addressRange } from '../core/address-range.ts'
import type { LoginFailureStore } from '../db/stores/login-failure-store.ts'

/** For one account from one address; and for an address that tries account after account, with room for a whole office. */
const ACCOUNT_FAILURES_MAX = 10
const ADDRESS_FAILURES_MAX = 100
const WINDOW_S = 60
const BLOCKED_MAX = 10_000

export interface Attempt {
  readonly username: string
  readonly address: string
}

interface Limited {
  readonly key: string
  readonly max: number
}

/** Limits guessing over all replicas together. An attempt counts as a failure from its beginning until it has succeeded. */
export function createLoginLimiter(deps: { readonly store: LoginFailureStore; readonly now?: () => number }) {
  const { store, now = Date.now } = deps
  /** Until when each is refused: what hammers on costs no query. */
  const blocked = new Map<string, number>()

  function keysOf(attempt: Attempt): { readonly account: Limited; readonly address: Limited } {
    const range = addressRange(attempt.address)
    return {
      account: { key: hash('sha256', JSON.stringify([attempt.username, range]), 'hex'), max: ACCOUNT_FAILURES_MAX },
      address: { key: hash('sha256', JSON.stringify([range]), 'hex'), max: ADDRESS_FAILURES_MAX },
    }
  }

  /** @returns the moment from which it may be tried again, or undefined when it may be now. */
  async function take({ key, max }: Limited): Promise<number | undefined> {
    const untilMs = blocked.get(key)
    if (untilMs !== undefined && untilMs > now()) return untilMs
    blocked.delete(key)
    const { noted, freeAt } = await store.note(key, { max, windowS: WINDOW_S })
    if (noted) return undefined
    if (blocked.size >= BLOCKED_MAX) blocked.clear()
    blocked.set(key, freeAt.getTime())
    return freeAt.getTime()
  }

  return {
    /** @returns undefined when it may go on; else how long to wait. */
    async begin(attempt: Attempt): Promise<{ readonly retryAfterS: number } | undefined> {
      const keys = keysOf(attempt)
      const untilMs = (await take(keys.account)) ?? (await take(keys.address))
      if (untilMs === undefined) return undefined
      return { retryAfterS: Math.min(WINDOW_S, Math.max(1, Math.ceil((untilMs - now()) / 1000))) }
    },

    /** It came to nothing: neither a failure nor a success. */
    async forget(attempt: Attempt): Promise<void> {
      const keys = keysOf(attempt)
      await store.forgetLast(keys.account.key)
      await store.forgetLast(keys.address.key)
    },

    /** The password was right. */
    async succeed(attempt: Attempt): Promise<void> {
      const keys = keysOf(attempt)
      await store.forget(keys.account.key)
      await store.forgetLast(keys.address.key)
    },
  }
}

export type LoginLimiter = ReturnType<typeof createLoginLimiter>
