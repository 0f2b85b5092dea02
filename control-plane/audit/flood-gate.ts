import { addressRange } from '../core/address-range.ts'
import type { TimedEntry } from '../db/stores/audit-write.ts'

const WINDOW_MS = 60_000
/** Refusals of one kind from one address that are told one by one; those after them, within the window, as a number. */
const ANONYMOUS_PER_WINDOW = 30
/** Reads that were denied change nothing: the first is told, and how many followed. */
const READS_PER_WINDOW = 1
/** Whoever we know may err more often before it is told as a number. */
const KNOWN_PER_WINDOW = 300
const MAX_WINDOWS = 10_000

interface Window {
  readonly endsMs: number
  last: TimedEntry
  passed: number
  held: number
}

/** Keeps refusals from filling the audit, soonest those of whom nobody knows, of agents that lie and of those who only read: bursts become one row with a number. */
export function createFloodGate() {
  const windows = new Map<string, Window>()

  return {
    /** Whether the entry is to be told by itself. */
    passes(entry: TimedEntry & { readonly atMs: number }): boolean {
      const limit = limitOf(entry)
      if (limit === Number.POSITIVE_INFINITY) return true
      const key = keyOf(entry, windows.size >= MAX_WINDOWS)
      const window = windows.get(key) ?? { endsMs: entry.atMs + WINDOW_MS, last: entry, passed: 0, held: 0 }
      windows.set(key, window)
      window.last = entry
      if (window.passed < limit) {
        window.passed += 1
        return true
      }
      window.held += 1
      return false
    },

    /** Closes the windows that are over by `nowMs` and tells what they held back. */
    summaries(nowMs: number): readonly TimedEntry[] {
      const over = [...windows].filter(([, window]) => window.endsMs <= nowMs)
      for (const [key] of over) windows.delete(key)
      return over.flatMap(([, { last, held }]) => (held === 0 ? [] : [{ ...last, detail: { repeats: held } }]))
    },
  }
}

function limitOf({ by, result }: TimedEntry): number {
  if (result === 'accepted' || result === 'done') return Number.POSITIVE_INFINITY
  if (isRead(by.request?.method)) return READS_PER_WINDOW
  return by.via === null || by.via === 'agent' ? ANONYMOUS_PER_WINDOW : KNOWN_PER_WINDOW
}

function isRead(method: string | undefined): boolean {
  return method === 'GET' || method === 'HEAD'
}

function keyOf({ by, operation, code }: TimedEntry, isCrowded: boolean): string {
  return isCrowded ? 'others' : JSON.stringify([by.subject, addressRange(by.request?.address ?? ''), operation, code])
}
