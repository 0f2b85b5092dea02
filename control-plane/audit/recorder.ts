import type { Logger } from '../../shared/logger.ts'
import type { Audit, AuditEntry } from '../core/audit.ts'
import type { TimedEntry } from '../db/stores/audit-write.ts'
import { createFloodGate } from './flood-gate.ts'

/** Entries written in one statement. */
const GROUP = 500
/** Beyond these, entries are dropped and counted: nobody's answer waits for the audit, and memory has an end. */
const MAX_WAITING = 20_000
/** What comes within this time is written together. */
const GATHER_MS = 50
const RETRY_MS = 500
const SUMMARY_MS = 5_000
const STOP_MS = 2_000

export interface AuditRecorder extends Pick<Audit, 'record'> {
  /** Entries lost since the start, because the queue was full or Postgres refused them. */
  dropped(): number
  /** Writes what waits, for as long as a shutdown may take. */
  stop(): Promise<void>
}

/** Writes what has no transaction of its own, in groups and behind everybody's back. While Postgres is away it waits here. */
export function createAuditRecorder(deps: {
  readonly write: (entries: readonly TimedEntry[]) => Promise<void>
  /** Whether Postgres itself said no: then one entry is at fault, and the others need not share its fate. */
  readonly isRefusal: (error: unknown) => boolean
  readonly logger: Logger
}): AuditRecorder {
  let waiting: TimedEntry[] = []
  let lost = 0
  let timer: NodeJS.Timeout | undefined
  let writing: Promise<void> | undefined
  const gate = createFloodGate()
  const summaries = setInterval(() => gate.summaries(Date.now()).forEach(enqueue), SUMMARY_MS).unref()

  function enqueue(entry: TimedEntry): void {
    if (waiting.length >= MAX_WAITING) {
      lost += 1
      return
    }
    waiting.push(entry)
    timer ??= setTimeout(flush, GATHER_MS).unref()
  }

  function flush(): void {
    clearTimeout(timer)
    timer = undefined
    writing ??= writeAll().finally(() => {
      writing = undefined
      if (waiting.length > 0) timer ??= setTimeout(flush, RETRY_MS).unref()
    })
  }

  /** Ends when nothing waits or Postgres is away. */
  async function writeAll(): Promise<void> {
    while (waiting.length > 0) {
      const group = waiting.slice(0, GROUP)
      try {
        await deps.write(group)
      } catch (error) {
        if (!deps.isRefusal(error)) {
          deps.logger.warn({ event: 'audit.waits', entries: waiting.length, error: String(error) })
          return
        }
        await writeEach(group)
      }
      waiting = waiting.slice(group.length)
    }
  }

  async function writeEach(group: readonly TimedEntry[]): Promise<void> {
    for (const entry of group) {
      await deps.write([entry]).catch((error: unknown) => {
        lost += 1
        deps.logger.error({ event: 'audit.lost', operation: entry.operation, error: String(error) })
      })
    }
  }

  return {
    record(entry: AuditEntry) {
      const timed = { ...entry, atMs: Date.now() }
      if (gate.passes(timed)) enqueue(timed)
    },
    dropped: () => lost,
    async stop() {
      clearInterval(summaries)
      gate.summaries(Number.POSITIVE_INFINITY).forEach(enqueue)
      const late = new Promise((resolve) => setTimeout(resolve, STOP_MS).unref())
      await writing
      flush()
      await Promise.race([writing, late])
      clearTimeout(timer)
    },
  }
}
