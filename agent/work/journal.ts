import { closeSync, fdatasync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { Id } from '../../shared/ids.ts'
import { JobEvent } from '../../shared/job-event.ts'
import { WorkOrder } from '../../shared/wire/messages.ts'

/** Ends that Postgres has confirmed are kept this long: a late repeat of their order is answered from here. */
const KEEP_CONFIRMED_MS = 7 * 24 * 3_600_000
const KEEP_CONFIRMED_ENTRIES = 10_000
/** The file is rewritten without what is no longer needed when it has grown by this much. */
const COMPACT_AFTER_BYTES = 16 * 1024 ** 2

const Line = z.discriminatedUnion('t', [
  z.object({ t: z.literal('order'), at: z.number(), delivery: z.number(), begins: z.number(), order: WorkOrder }),
  z.object({ t: z.literal('paused'), jobId: Id }),
  z.object({ t: z.literal('stage'), jobId: Id, identity: z.string() }),
  z.object({
    t: z.literal('end'),
    at: z.number(),
    jobId: Id,
    attempt: z.number(),
    delivery: z.number(),
    event: JobEvent,
  }),
  z.object({ t: z.literal('confirmed'), at: z.number(), jobId: Id }),
])
type Line = z.infer<typeof Line>

/** What this agent knows of one job. `order` is absent when it was cancelled before it arrived. */
export interface JournalEntry {
  readonly jobId: string
  order: WorkOrder | undefined
  attempt: number
  /** How often this job was begun here; events of a later beginning outrank those of an earlier one. */
  delivery: number
  /** Beginnings that no orderly stop of the agent ended. */
  begins: number
  staged: string | undefined
  end: JobEvent | undefined
  confirmedAtMs: number | undefined
}

/**
 * The agent's memory across crashes: orders begun, what they staged, how they ended. Lines are appended with a plain write,
 * which survives the death of the process; `sync` makes them survive the death of the machine, and calls that come
 * together share one fdatasync. A torn last line is what a crash in the middle of a write leaves; it is dropped.
 */
export interface Journal {
  get(jobId: string): JournalEntry | undefined
  /** Begun and not ended: to be resumed. */
  unfinished(): readonly JournalEntry[]
  /** Ended, and Postgres has not said so yet: to be reported again. */
  unconfirmed(): readonly JournalEntry[]
  begin(order: WorkOrder): JournalEntry
  /** A higher attempt of a job that is still running here. */
  adopt(order: WorkOrder): void
  /** The agent stops in good order: this beginning does not count against the job. */
  pause(jobId: string): void
  stage(jobId: string, identity: string): Promise<void>
  end(jobId: string, end: { readonly attempt: number; readonly delivery: number; readonly event: JobEvent }): void
  confirm(jobId: string): void
  sync(): Promise<void>
  close(): void
}

export function openJournal(folder: string, now: () => number = Date.now): Journal {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const path = join(folder, 'journal.ndjson')
  const entries = new Map<string, JournalEntry>()
  for (const line of readLines(path)) apply(entries, line)
  let file = rewrite(path, entries, now())
  let written = 0
  let isTorn = false
  let syncing: Promise<void> | undefined
  let syncAgain: Promise<void> | undefined

  function append(line: Line): void {
    apply(entries, line)
    // What a full disk left of a line must not spoil the one behind it.
    const text = `${isTorn ? '\n' : ''}${JSON.stringify(line)}\n`
    isTorn = true
    written += writeAll(file, text)
    isTorn = false
    if (written < COMPACT_AFTER_BYTES) return
    const old = file
    file = rewrite(path, entries, now())
    written = 0
    // A sync of the old file may be under way; what it is for stands in the new one.
    void Promise.allSettled([syncing]).then(() => closeSync(old))
  }

  /** A sync that is under way may have begun before our write, so who comes then waits for the next one. */
  function sync(): Promise<void> {
    if (syncing === undefined) {
      syncing = fdatasyncAsync(file).finally(() => {
        syncing = undefined
      })
      return syncing
    }
    syncAgain ??= syncing.then(() => {
      syncAgain = undefined
      return sync()
    })
    return syncAgain
  }

  function appendOrder(order: WorkOrder, place: { readonly delivery: number; readonly begins: number }): void {
    append({ t: 'order', at: now(), ...place, order })
  }

  return {
    get: (jobId) => entries.get(jobId),
    unfinished: () => [...entries.values()].filter((entry) => entry.order !== undefined && entry.end === undefined),
    unconfirmed: () =>
      [...entries.values()].filter((entry) => entry.end !== undefined && entry.confirmedAtMs === undefined),

    begin(order) {
      const before = entries.get(order.jobId)
      appendOrder(order, { delivery: (before?.delivery ?? 0) + 1, begins: (before?.begins ?? 0) + 1 })
      const entry = entries.get(order.jobId)
      if (entry === undefined) throw new Error('an order that was just journaled is missing')
      return entry
    },

    adopt(order) {
      const { delivery, begins } = entries.get(order.jobId) ?? { delivery: 1, begins: 1 }
      appendOrder(order, { delivery, begins })
    },

    pause: (jobId) => append({ t: 'paused', jobId }),

    async stage(jobId, identity) {
      append({ t: 'stage', jobId, identity })
      await sync()
    },

    end: (jobId, { attempt, delivery, event }) => append({ t: 'end', at: now(), jobId, attempt, delivery, event }),

    confirm(jobId) {
      const entry = entries.get(jobId)
      if (entry?.end === undefined || entry.confirmedAtMs !== undefined) return
      append({ t: 'confirmed', at: now(), jobId })
      dropOldest(entries)
    },

    sync,
    close: () => closeSync(file),
  }
}

function apply(entries: Map<string, JournalEntry>, line: Line): void {
  const jobId = line.t === 'order' ? line.order.jobId : line.jobId
  const entry = entries.get(jobId) ?? {
    jobId,
    order: undefined,
    attempt: 0,
    delivery: 0,
    begins: 0,
    staged: undefined,
    end: undefined,
    confirmedAtMs: undefined,
  }
  entries.set(jobId, entry)
  switch (line.t) {
    case 'order':
      entry.order = line.order
      entry.attempt = line.order.attempt
      entry.delivery = line.delivery
      entry.begins = line.begins
      break
    case 'paused':
      entry.begins = Math.max(0, entry.begins - 1)
      break
    case 'stage':
      entry.staged = line.identity
      break
    case 'end':
      entry.attempt = line.attempt
      entry.delivery = line.delivery
      entry.end = line.event
      // What it was ordered is needed no more: a repeat brings its own.
      entry.order = undefined
      entry.staged = undefined
      break
    case 'confirmed':
      entry.confirmedAtMs = line.at
      break
  }
}

/** Entries stand in the order they came, so the first confirmed ones are the oldest. */
function dropOldest(entries: Map<string, JournalEntry>): void {
  if (entries.size <= KEEP_CONFIRMED_ENTRIES) return
  for (const entry of entries.values()) {
    if (entry.confirmedAtMs === undefined) continue
    entries.delete(entry.jobId)
    return
  }
}

function readLines(path: string): Line[] {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
    throw error
  }
  const lines: Line[] = []
  for (const line of text.split('\n')) {
    const parsed = Line.safeParse(parseJson(line))
    if (parsed.success) lines.push(parsed.data)
  }
  return lines
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    // A torn line is what a crash leaves; whatever it would have said is not claimed.
    return undefined
  }
}

/** Writes what is still needed to a new file, makes it the journal by one rename, and leaves it open for appending. */
function rewrite(path: string, entries: Map<string, JournalEntry>, nowMs: number): number {
  const fresh = openSync(`${path}.new`, 'w', 0o600)
  for (const entry of entries.values()) {
    if (entry.confirmedAtMs !== undefined && nowMs - entry.confirmedAtMs > KEEP_CONFIRMED_MS) {
      entries.delete(entry.jobId)
      continue
    }
    for (const line of linesOf(entry, nowMs)) writeAll(fresh, `${JSON.stringify(line)}\n`)
  }
  fsyncSync(fresh)
  closeSync(fresh)
  renameSync(`${path}.new`, path)
  const folder = openSync(dirname(path), 'r')
  fsyncSync(folder)
  closeSync(folder)
  return openSync(path, 'a')
}

function linesOf(entry: JournalEntry, nowMs: number): Line[] {
  const { jobId, attempt, delivery, begins } = entry
  return [
    ...(entry.order ? [{ t: 'order' as const, at: nowMs, delivery, begins, order: entry.order }] : []),
    ...(entry.staged ? [{ t: 'stage' as const, jobId, identity: entry.staged }] : []),
    ...(entry.end ? [{ t: 'end' as const, at: nowMs, jobId, attempt, delivery, event: entry.end }] : []),
    ...(entry.confirmedAtMs !== undefined ? [{ t: 'confirmed' as const, at: entry.confirmedAtMs, jobId }] : []),
  ]
}

/** One call may write less than it was given, when the disk is about to be full. @returns bytes */
function writeAll(file: number, text: string): number {
  const bytes = Buffer.from(text)
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done)
  return bytes.length
}

function fdatasyncAsync(file: number): Promise<void> {
  return new Promise((resolve, reject) => fdatasync(file, (error) => (error ? reject(error) : resolve())))
}
