import { FleetError } from '../../shared/errors.ts'
import type { ReportedInstance } from '../../shared/instance-spec.ts'
import type { Logger } from '../../shared/logger.ts'
import type { ReadAnswerOf } from '../../shared/wire/reads.ts'
import type { HostReads } from '../core/host-reads.ts'
import type { InstanceReport } from '../core/instance-fold.ts'
import type { InstanceFoldStore, ListClaim } from '../db/stores/instance-fold-store.ts'

/** Hosts asked at one time, so that a fleet that changes at once does not flood us. */
const MAX_INQUIRIES = 16
const PAGE_ITEMS = 500
/** What one host may tell: more is no list. */
const MAX_ITEMS = 5_000
const MAX_BYTES = 16 * 1024 ** 2
/** Lists may change while they are read. */
const TRIES = 3
/** A host is asked no more often than this, whatever its beats say; after a failure much later. */
const REST_MS = 1_000
const FAILED_REST_MS = 30_000

/** Keeps the rows of instances as their hosts tell them: by the hash in their beats, a host is asked only when that is another one. */
export interface InstanceWatch {
  /** A beat. `hash` undefined: the host serves none; null: it has not listed them yet. */
  heard(host: string, hash: string | null | undefined): void
  /** Resolves when nobody is being asked. */
  idle(): Promise<void>
}

export function createInstanceWatch(deps: {
  readonly reads: HostReads
  readonly store: InstanceFoldStore
  readonly logger: Logger
  readonly now?: () => number
}): InstanceWatch {
  const { reads, store, logger, now = Date.now } = deps
  /** What Postgres has, of hosts that serve any: null for those that are to be asked again. */
  const known = new Map<string, string | null>()
  const restUntilMs = new Map<string, number>()
  const asking = new Map<string, Promise<void>>()

  async function look(host: string, hash: string | null): Promise<void> {
    const claim = await store.claim(host, hash)
    if (claim === undefined) return
    if (claim.hash === hash) known.set(host, hash)
    // Another replica asks: the next beat finds what came of it.
    if (claim.claimed === undefined) return
    const told = await askFor(host, hash, claim.claimed)
    const folded = await store.fold(claim.claimed, told)
    if (folded === undefined) return
    known.set(host, folded.hash)
    logger.info({ event: 'instances.folded', host, instances: told.items.length, changed: folded.changed })
  }

  async function askFor(host: string, hash: string | null, { nowMs }: NonNullable<ListClaim['claimed']>) {
    // It serves none any more: what it had is kept, and that is told.
    if (hash === null) return { takenAtMs: nowMs, types: [], items: [], hash }
    const { ageMs, ...list } = await readList(reads, host)
    return { ...list, takenAtMs: nowMs - ageMs }
  }

  return {
    heard(host, hash) {
      // Of a host that never served any there is nothing to be known.
      if (hash === null || (hash === undefined && !known.has(host))) return
      const wanted = hash ?? null
      if (known.get(host) === wanted && wanted !== null) return
      if (asking.has(host) || asking.size >= MAX_INQUIRIES || now() < (restUntilMs.get(host) ?? 0)) return
      restUntilMs.set(host, now() + REST_MS)
      const work = look(host, wanted)
        .catch((error: unknown) => {
          restUntilMs.set(host, now() + FAILED_REST_MS)
          const detail = error instanceof FleetError ? error.detail : undefined
          logger.warn({ event: 'instances.unheard', host, error: String(error), detail })
        })
        .finally(() => {
          asking.delete(host)
          if (wanted === null) known.delete(host)
        })
      asking.set(host, work)
    },

    async idle() {
      while (asking.size > 0) await Promise.all(asking.values())
    },
  }
}

/** @throws unavailable, internal (no list), conflict (it changes faster than it can be read). */
async function readList(reads: HostReads, host: string): Promise<Omit<InstanceReport, 'takenAtMs'> & ReadHead> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await readPages(reads, host)
    } catch (error) {
      if (tries >= TRIES || !(error instanceof FleetError && error.code === 'conflict')) throw error
    }
  }
}

type ReadHead = Pick<ReadAnswerOf<'instances'>, 'hash' | 'ageMs'>

async function readPages(reads: HostReads, host: string): Promise<Omit<InstanceReport, 'takenAtMs'> & ReadHead> {
  const items: ReportedInstance[] = []
  let first: ReadAnswerOf<'instances'> | undefined
  let bytes = 0
  for (let cursor: string | null = null; ; ) {
    const request = { limit: PAGE_ITEMS, ...(cursor === null ? {} : { cursor }) }
    const page: ReadAnswerOf<'instances'> = await reads.ask(host, 'instances', request)
    first ??= page
    if (page.hash !== first.hash) throw new FleetError('conflict', 'the instances have changed meanwhile')
    items.push(...page.items)
    bytes += JSON.stringify(page.items).length
    if (items.length > MAX_ITEMS || bytes > MAX_BYTES || (page.next !== null && page.items.length === 0)) {
      throw new FleetError('internal', 'internal error', {
        detail: `${host} tells more instances than a host may have`,
      })
    }
    cursor = page.next
    if (cursor !== null) continue
    const { hash, ageMs, types } = first
    return { hash, ageMs, types, items: items.flatMap(asText) }
  }
}

/** Postgres takes neither NUL nor half of a surrogate pair. */
function asText(item: ReportedInstance): ReportedInstance[] {
  const text = (value: string) => value.replaceAll('\0', '\uFFFD').toWellFormed()
  const { instance, name, configHash, mounts } = item
  if (text(instance) !== instance) return []
  const shown = mounts.map(({ destination, source, volume, ...mount }) => ({
    ...mount,
    destination: text(destination),
    source: text(source),
    volume: volume === null ? null : text(volume),
  }))
  return [{ ...item, name: text(name), configHash: configHash === null ? null : text(configHash), mounts: shown }]
}
