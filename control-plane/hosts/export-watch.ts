import { setTimeout as pause } from 'node:timers/promises'
import { FleetError } from '../../shared/errors.ts'
import { hashExports } from '../../shared/exports-hash.ts'
import type { Logger } from '../../shared/logger.ts'
import { SYSTEM_CALLER } from '../core/caller.ts'
import { wantedOf } from '../core/export-reconcile.ts'
import type { ExportOrders } from '../core/exports.ts'
import type { ExportWatchStore } from '../db/stores/export-watch-store.ts'

/** Hosts whose rows are read together, and how long they gather. */
const MAX_HOSTS = 256
const GATHER_MS = 100
/** A host is compared no more often than this, a little less than beats are apart; one that is as it should be no less often than that. */
const REST_MS = 4_000
const AGAIN_MS = 10 * 60_000

/** Compares what hosts tell in their beats that they export with what Postgres says, and has those told that differ. */
export interface ExportWatch {
  /** A beat. `hash` undefined: the host can export nothing. */
  heard(host: string, hash: string | undefined): void
  /** Resolves when nothing is being compared. */
  idle(): Promise<void>
}

export function createExportWatch(deps: {
  readonly store: ExportWatchStore
  readonly exports: Pick<ExportOrders, 'reconcile'>
  readonly logger: Logger
  readonly now?: () => number
  readonly gatherMs?: number
}): ExportWatch {
  const { store, exports, logger, now = Date.now, gatherMs = GATHER_MS } = deps
  /** What was right the last time, and since when. */
  const right = new Map<string, { readonly hash: string; readonly atMs: number }>()
  /** What was wrong the last time. */
  const wrong = new Map<string, string>()
  const restUntilMs = new Map<string, number>()
  const waiting = new Map<string, string>()
  let comparing: Promise<void> | undefined

  async function compareAll(): Promise<void> {
    while (waiting.size > 0) {
      await pause(gatherMs)
      const hosts = [...waiting].slice(0, MAX_HOSTS)
      for (const [host] of hosts) waiting.delete(host)
      try {
        await compare(new Map(hosts))
      } catch (error) {
        logger.warn({ event: 'exports.uncompared', hosts: hosts.length, error: String(error) })
      }
    }
  }

  async function compare(told: ReadonlyMap<string, string>): Promise<void> {
    for (const [host, rows] of await store.standing([...told.keys()])) {
      const [hash, wanted] = [told.get(host) ?? '', hashExports(wantedOf(rows))]
      if (wanted === hash) {
        right.set(host, { hash, atMs: now() })
        wrong.delete(host)
        continue
      }
      right.delete(host)
      // Its word may be older than what it did last: what is wrong is so in two beats.
      const isSo = wrong.get(host) === `${hash} ${wanted}`
      wrong.set(host, `${hash} ${wanted}`)
      if (isSo) await tell(host)
    }
  }

  /** It is decided anew with the rows locked; what stands in the way there is tried again with a later beat. */
  async function tell(host: string): Promise<void> {
    if (await store.isPaused(host)) return
    try {
      const { jobId } = await exports.reconcile(SYSTEM_CALLER, host)
      logger.info({ event: 'exports.differ', host, jobId })
    } catch (error) {
      const isUsual = error instanceof FleetError && ['conflict', 'unavailable'].includes(error.code)
      if (isUsual) return
      restUntilMs.set(host, now() + AGAIN_MS)
      logger.warn({ event: 'exports.untold', host, error: String(error) })
    }
  }

  return {
    heard(host, hash) {
      if (hash === undefined) return
      const known = right.get(host)
      if (known?.hash === hash && now() - known.atMs < AGAIN_MS) return
      if (waiting.has(host) || now() < (restUntilMs.get(host) ?? 0)) return
      restUntilMs.set(host, now() + REST_MS)
      waiting.set(host, hash)
      comparing ??= compareAll().finally(() => {
        comparing = undefined
      })
    },

    async idle() {
      while (comparing !== undefined) await comparing
    },
  }
}
