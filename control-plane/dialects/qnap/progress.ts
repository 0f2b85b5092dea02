import { z } from 'zod'
import type { Caller } from '../../core/caller.ts'
import type { Core } from '../../core/core.ts'
import { raw } from '../../http/route.ts'
import { createClientWords } from './client-words.ts'
import { createJobProgress, type JobProgress, type ProgressChange } from './job-progress.ts'
import { createProgressHub, type ProgressHub } from './progress-hub.ts'

const TIMEOUT_MAX_S = 30
const MS = 1000
/** Of a client that was away: read at once, and then answered, whatever there was. */
const PAGES_MAX = 20
const PAGE = 1_000
/** They are told with their field in front. */
const inQueryWords = createClientWords({})
const AT_ONCE = AbortSignal.abort()

const ProgressList = z.array(
  z.object({
    id: z.number().int().meta({ description: 'Of the backup or restore' }),
    progress: z.int().min(-1).max(99).meta({ description: '−1: not known, has just begun, or has ended' }),
    type: z.enum(['backup', 'restore']),
  }),
)

/** Query values are text. */
function wholeNumber(maximum: number) {
  const error = `must be a whole number, ${maximum} at most`
  return z
    .string()
    .regex(/^\d{1,16}$/, error)
    .transform(Number)
    .pipe(z.number().max(maximum, error))
    .meta({
      override: ({ jsonSchema }) => {
        delete jsonSchema.pattern
        Object.assign(jsonSchema, { type: 'integer', minimum: 0, maximum })
      },
    })
}

const ProgressQuery = z.object({
  timeout: wholeNumber(TIMEOUT_MAX_S)
    .optional()
    .transform((seconds) => seconds ?? TIMEOUT_MAX_S)
    .meta({ description: 'Seconds to wait for the first change' }),
  since: wholeNumber(Number.MAX_SAFE_INTEGER)
    .optional()
    .meta({ description: '`X-Progress-Cursor` of the answer before; absent: from now on' }),
})

interface Poll {
  readonly caller: Caller
  readonly since: number
  readonly timeoutMs: number
  /** Aborts when nobody waits any more, and when the server stops. */
  readonly signal: AbortSignal
}

interface Outcome {
  /** Of a thousand who wait for the same, all have the same list. */
  readonly changes: readonly ProgressChange[]
  readonly cursor: number
}

interface Progress {
  readonly jobs: JobProgress
  readonly hub: ProgressHub
}

/** What happened before the hub remembers anything. */
async function pastOf({ feed }: Core, { jobs, hub }: Progress, { caller, since }: Poll): Promise<Outcome> {
  let cursor = since
  for (let pages = 0; pages < PAGES_MAX && cursor < hub.from(); pages += 1) {
    const page = await feed.next({ caller, since: cursor, limit: PAGE, signal: AT_ONCE })
    const changes = (await jobs.changesOf(page.events)).filter(({ groupId }) => groupId === caller.groupId)
    if (changes.length > 0) return { changes, cursor: page.cursor }
    // Nothing more is kept: what comes next the hub has seen.
    cursor = page.cursor === cursor ? hub.from() : page.cursor
  }
  return { changes: [], cursor }
}

async function poll(core: Core, progress: Progress, asked: Poll): Promise<Outcome> {
  const { hub } = progress
  const { caller, since, signal } = asked
  // Another replica may be ahead of us; a number that nobody has given yet is refused.
  if (since > core.feed.head()) await core.feed.next({ caller, since, limit: 1, signal: AT_ONCE })
  const past = await pastOf(core, progress, asked)
  if (past.changes.length > 0 || past.cursor < hub.from()) return past
  const { cursor } = past
  const untilMs = performance.now() + asked.timeoutMs
  for (;;) {
    const changes = hub.after(caller.groupId, cursor)
    const timeoutMs = untilMs - performance.now()
    if (changes.length > 0 || signal.aborted || timeoutMs <= 0) {
      return { changes, cursor: Math.max(cursor, hub.told()) }
    }
    await hub.changed(caller.groupId, { timeoutMs, signal })
  }
}

/** The newest of each task, as JSON. */
function newest(changes: readonly ProgressChange[]): string {
  const byTask = new Map(changes.map((change) => [`${change.kind} ${change.number}`, change]))
  return JSON.stringify([...byTask.values()].map(({ number: id, progress, kind: type }) => ({ id, progress, type })))
}

/** The route, with what its pollers share. */
export function createProgressRoute() {
  let shared: Progress | undefined
  /** The last answer: most who are woken together get the same. */
  let newestOf: { readonly changes: readonly ProgressChange[]; readonly body: string } = { changes: [], body: '[]' }

  function open({ feed, schedules }: Core): Progress {
    const jobs = shared?.jobs ?? createJobProgress(schedules)
    if (!shared?.hub.isOpen()) shared = { jobs, hub: createProgressHub({ feed, jobs }) }
    return shared
  }

  return raw({
    operation: 'getProgress',
    method: 'GET',
    path: '/api/v1/backup/progress',
    summary: 'Long polling that returns when progress changed of tasks',
    description:
      "Answers at once when something changed after `since`, else with the first change, or `[]` at the timeout. Each answer's " +
      '`X-Progress-Cursor` is the next `since`. Changes that follow one another fast are told together. Too old a `since`: 410.',
    access: 'viewer',
    status: 200,
    contentType: 'application/json; charset=utf-8',
    waits: true,
    query: ProgressQuery,
    result: ProgressList,
    errors: [410],

    async handle({ query, caller, signal }, core) {
      const { since = core.feed.head(), timeout } = query
      const asked = { caller, since, timeoutMs: timeout * MS, signal }
      const { changes, cursor } = await inQueryWords(poll(core, open(core), asked))
      if (changes !== newestOf.changes) newestOf = { changes, body: newest(changes) }
      return { status: 200, headers: { 'X-Progress-Cursor': String(cursor) }, body: newestOf.body }
    },
  })
}
