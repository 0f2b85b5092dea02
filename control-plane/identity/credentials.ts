import { FleetError, toFleetError } from '../../shared/errors.ts'
import type { Caller } from '../core/caller.ts'
import type { Credentials, Shown } from '../core/credentials.ts'
import { callerOf, standingOfNetwork } from '../core/standing.ts'
import type { CredentialStore } from '../db/stores/credential-store.ts'

/** How long a replica trusts what it read: a revocation that nobody tells it of takes effect within this time. */
const TRUST_MS = 1_000
const REMEMBERED_MAX = 20_000

interface Remembered {
  readonly caller: Promise<Caller>
  readonly untilMs: number
}

export interface CredentialCache extends Credentials {
  /** Rights may have changed: everything is read afresh. */
  drop(): void
  /** Tells Postgres which credentials were used since the last call. */
  flush(): Promise<void>
}

/**
 * The hot path of every request: a look-up in memory, and once a second a read that all who show the same credential share.
 * Refusals are remembered as well.
 */
export function createCredentialCache(deps: {
  readonly store: CredentialStore
  readonly now?: () => number
}): CredentialCache {
  const { store, now = Date.now } = deps
  const remembered = new Map<string, Remembered>()
  const listeners = new Set<() => void>()
  let used = new Map<string, number>()

  async function read(shown: Shown, group: string | undefined): Promise<Caller> {
    if (shown.kind === 'network' && group === undefined) {
      return callerOf(standingOfNetwork(shown.id, shown.role), undefined)
    }
    const { standing, namedGroupId } = await store.find(shown, group)
    if (standing === undefined) throw new FleetError('unauthorized', 'the credentials are not known')
    if ((shown.kind === 'token' || shown.kind === 'session') && used.size < REMEMBERED_MAX) used.set(shown.id, now())
    return callerOf(standing, group === undefined ? undefined : namedGroupId)
  }

  function remember(key: string, caller: Promise<Caller>): void {
    const [oldest] = remembered.size >= REMEMBERED_MAX ? remembered.keys() : []
    if (oldest !== undefined) remembered.delete(oldest)
    // Counted from before the read, so that it is never trusted for longer.
    const entry = { caller, untilMs: now() + TRUST_MS }
    remembered.delete(key)
    remembered.set(key, entry)
    caller.catch((error: unknown) => {
      const { code } = toFleetError(error)
      if (code !== 'unauthorized' && code !== 'forbidden' && remembered.get(key) === entry) remembered.delete(key)
    })
  }

  return {
    find(shown, group) {
      const key = `${shown.kind} ${shown.id}${group === undefined ? '' : ` ${group}`}`
      const known = remembered.get(key)
      if (known !== undefined && known.untilMs > now()) return known.caller
      const caller = read(shown, group)
      remember(key, caller)
      return caller
    },

    drop() {
      remembered.clear()
      for (const listener of listeners) listener()
    },

    onChange: (listener) => void listeners.add(listener),

    async flush() {
      const taken = used
      used = new Map()
      await store.touch(taken)
    },
  }
}
