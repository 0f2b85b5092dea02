import { setTimeout as sleep } from 'node:timers/promises'
import { FleetError } from '../../../shared/errors.ts'
import { inTurn } from '../../zfs/turns.ts'
import type { Zfs } from '../../zfs/zfs.ts'
import { DESTROY_PROGRAM, readDestroyed } from './destroy-program.ts'

/** udevd, and who just let go of a device, may hold a volume for a moment. */
const BUSY_TRIES = 8
const BUSY_WAIT_MS = 250
/** Names of one program: it holds the transaction open while it runs. */
const MAX_AT_ONCE = 100

type Destroy = (name: string, signal: AbortSignal) => Promise<void>

/**
 * Destroys volumes and snapshots by their full names. Those that are asked for while the pool is at work go together, in one
 * transaction, which costs hardly more than one of them.
 */
export function createDestroyer({
  zfs,
  root,
  pool,
}: {
  readonly zfs: Zfs
  readonly root: string
  readonly pool: string
}): Destroy {
  const waiting: { readonly name: string; settle(failure: unknown): void }[] = []

  async function destroyWaiting(): Promise<void> {
    const now = waiting.splice(0, MAX_AT_ONCE)
    if (now.length === 0) return // went with those before
    try {
      const args = [...new Set(now.map(({ name }) => name))]
      const { signal } = new AbortController() // of several callers: it goes through
      const failures = readDestroyed(await zfs.program({ pool, text: DESTROY_PROGRAM, args }, signal), root)
      for (const one of now) {
        one.settle(failures.has(one.name) ? failures.get(one.name) : new FleetError('internal', 'ZFS left one out'))
      }
    } catch (error) {
      for (const one of now) one.settle(error)
    }
  }

  const together = (name: string): Promise<void> =>
    new Promise((resolve, reject) => {
      waiting.push({ name, settle: (failure) => (failure === undefined ? resolve() : reject(failure)) })
      void inTurn(pool, destroyWaiting)
    })

  return async (name, signal) => {
    for (let tries = 1; ; tries += 1) {
      if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
      try {
        return await together(name)
      } catch (error) {
        if (!(error instanceof FleetError) || error.code !== 'busy' || tries === BUSY_TRIES) throw error
        await sleep(BUSY_WAIT_MS)
      }
    }
  }
}
