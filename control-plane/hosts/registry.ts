import { type Beat, OFFLINE_AFTER_MS } from '../../shared/wire/messages.ts'
import type { FleetView, LiveHost, LivePool } from '../core/fleet-view.ts'
import type { KeptHost, KeptPool, Sightings } from '../db/stores/host-store.ts'

interface Entry {
  host: KeptHost
  lastBeatMs: number
  /** Changed since the last flush. */
  heard: boolean
  /** The free bytes of its pools as the newest beat tells, in the inventory's order. */
  free: readonly number[]
  /** As Postgres has it; transitions are written once and told once. */
  told: 'online' | 'offline'
}

/**
 * Who is there, by this replica's own ears: every replica hears every beat. Kept in memory because every request asks;
 * Postgres learns of transitions at once and of sightings now and then.
 */
export interface HostRegistry extends FleetView {
  /** Takes a host as Postgres has it. */
  keep(host: KeptHost): void
  /** It is no host any more. */
  drop(name: string): void
  names(): readonly string[]
  /** Whether it has credentials, as far as this replica knows. */
  isEnrolled(name: string): boolean
  /** @returns `unknown` or `changed` when the host's inventory must be asked for; `back` when it was thought offline. */
  beat(name: string, beat: Beat): 'known' | 'unknown' | 'changed' | 'back'
  /** Hosts thought online that have been silent too long. */
  silent(): readonly string[]
  /** Any word of its own shows that it is there. */
  heard(name: string): void
  /** It answered neither an order nor a ping: offline until it is heard again. */
  deaf(name: string): void
  told(name: string, state: 'online' | 'offline'): void
  /** What beats told since the last call. */
  takeSightings(): Sightings
  onlineCount(): number
  /** Whether beats reach us at all: while nobody's do, silence may be ours. */
  hearsAnybody(): boolean
}

/** Half as long again as beats are apart. */
const DEAF_AFTER_MS = 7_500

export function createHostRegistry(now: () => number = Date.now): HostRegistry {
  const hosts = new Map<string, Entry>()
  const poolOwners = new Map<string, string>()

  function isHeard(entry: Entry | undefined): boolean {
    return entry !== undefined && now() - entry.lastBeatMs < OFFLINE_AFTER_MS
  }

  function livePool(entry: Entry, pool: KeptPool, n: number): LivePool {
    return {
      id: pool.id,
      name: pool.name,
      localName: pool.localName,
      host: { id: entry.host.id, name: entry.host.name },
      driver: pool.driver,
      capabilities: pool.capabilities,
      freeBytes: entry.free[n] ?? pool.freeBytes,
      accepts: isHeard(entry) && !entry.host.draining,
    }
  }

  function liveHost(entry: Entry): LiveHost {
    const { id, name, restorePaths, sourcePaths, backupRoot, initiator } = entry.host
    return { id, name, isOnline: isHeard(entry), restorePaths, sourcePaths, backupRoot, initiator }
  }

  return {
    isOnline: (host) => isHeard(hosts.get(host)),
    isDraining: (host) => hosts.get(host)?.host.draining ?? false,
    knows: (host) => hosts.has(host),

    host(name) {
      const entry = hosts.get(name)
      return entry && liveHost(entry)
    },

    *hosts() {
      for (const entry of hosts.values()) yield liveHost(entry)
    },

    pool(name) {
      const entry = hosts.get(poolOwners.get(name) ?? '')
      const n = entry?.host.pools.findIndex((pool) => pool.name === name) ?? -1
      const pool = entry?.host.pools[n]
      return entry && pool ? livePool(entry, pool, n) : undefined
    },

    *pools() {
      for (const entry of hosts.values()) {
        for (const [n, pool] of entry.host.pools.entries()) yield livePool(entry, pool, n)
      }
    },

    keep(host) {
      const before = hosts.get(host.name)
      const lastBeatMs = Math.max(before?.lastBeatMs ?? 0, host.lastSeenAt?.getTime() ?? 0)
      hosts.set(host.name, { host, lastBeatMs, heard: false, free: before?.free ?? [], told: host.state })
      for (const pool of host.pools) poolOwners.set(pool.name, host.name)
    },

    drop(name) {
      hosts.delete(name)
      for (const [pool, owner] of poolOwners) if (owner === name) poolOwners.delete(pool)
    },

    names: () => [...hosts.keys()],

    isEnrolled: (name) => (hosts.get(name)?.host.credentialExpiresAt ?? null) !== null,

    beat(name, beat) {
      const entry = hosts.get(name)
      if (entry === undefined) return 'unknown'
      entry.lastBeatMs = now()
      entry.heard = true
      entry.free = beat.free
      if (entry.host.inventoryHash !== beat.hash) return 'changed'
      return entry.told === 'offline' ? 'back' : 'known'
    },

    silent() {
      return [...hosts.values()]
        .filter((entry) => entry.told === 'online' && !isHeard(entry))
        .map((entry) => entry.host.name)
    },

    heard(name) {
      const entry = hosts.get(name)
      if (entry) entry.lastBeatMs = now()
    },

    deaf(name) {
      const entry = hosts.get(name)
      if (entry) entry.lastBeatMs = 0
    },

    told(name, state) {
      const entry = hosts.get(name)
      if (entry) entry.told = state
    },

    takeSightings() {
      const seen: { name: string; atMs: number }[] = []
      const pools: { id: string; freeBytes: number }[] = []
      for (const entry of hosts.values()) {
        if (!entry.heard) continue
        entry.heard = false
        seen.push({ name: entry.host.name, atMs: Math.round(entry.lastBeatMs) })
        for (const [n, pool] of entry.host.pools.entries()) {
          const freeBytes = entry.free[n]
          if (freeBytes !== undefined && freeBytes !== pool.freeBytes) pools.push({ id: pool.id, freeBytes })
        }
      }
      return { hosts: seen, pools }
    },

    hearsAnybody: () => [...hosts.values()].some((entry) => now() - entry.lastBeatMs < DEAF_AFTER_MS),

    onlineCount: () => [...hosts.values()].filter(isHeard).length,
  }
}
