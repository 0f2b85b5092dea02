import { FleetError, toFleetError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import { WIRE_VERSION } from '../../shared/wire/messages.ts'
import { type HostRead, READS, type ReadAnswer, ReadQuestion, type ReadRequestOf } from '../../shared/wire/reads.ts'
import type { ExportKeeper } from '../export/export-keeper.ts'
import type { Answerers, PointRead } from '../points/answers.ts'
import type { Points } from '../points/open-points.ts'
import type { Volumes } from '../volumes/volumes.ts'
import { failureOf } from '../work/failure.ts'
import { createSlots } from '../work/slots.ts'
import { exportPage } from './export-page.ts'
import type { InstanceList } from './instance-list.ts'
import { instanceParts } from './instance-parts.ts'
import { volumePage } from './volume-page.ts'

/** The control plane waits for five seconds: an answer that says why there is none should still arrive. */
const ANSWER_WITHIN_MS = 4_500
/** What reads an index answers with what it has by then. */
const FOUND_WITHIN_MS = 3_000
const AT_ONE_TIME = 4
const MAX_WAITING = 64

/** Answers what is asked about points, targets, instances, volumes and exports: a few at a time, none for longer than anybody waits. */
export interface Reads extends AsyncDisposable {
  /** @returns undefined for an operation that is none of these */
  answer(operation: string, question: Uint8Array): Promise<ReadAnswer> | undefined
}

export function createReads(deps: {
  readonly points: Points
  readonly instances: Pick<InstanceList, 'page'>
  /** @throws not_found, unavailable as PipelineTools */
  readonly volumes: (pool: string) => Volumes
  readonly exports: ExportKeeper
  /** Of PipelineTools. */
  readonly places: Parameters<typeof instanceParts>[0]
  readonly logger: Logger
}): Reads {
  const slots = createSlots(AT_ONE_TIME)
  let waiting = 0
  let answerers: Promise<Answerers & AsyncDisposable> | undefined

  /** Loaded with the first question: most agents are never asked. */
  function loaded(): Promise<Answerers & AsyncDisposable> {
    const { tools, targets } = deps.points
    answerers ??= import('../points/answers.ts').then((module) => module.createAnswerers(tools, targets))
    return answerers
  }

  async function answererOf(
    operation: Exclude<HostRead, 'instances'>,
  ): Promise<(question: unknown) => Promise<unknown>> {
    if (operation === 'volumes') {
      // as: its schema has parsed the request
      return (question) => {
        const { request, untilMs } = question as { request: ReadRequestOf<'volumes'>; untilMs: number }
        return volumePage(deps.volumes, request, untilMs)
      }
    }
    if (operation === 'instance-parts') {
      // as: its schema has parsed the request
      return (question) => {
        const { request, signal } = question as { request: ReadRequestOf<'instance-parts'>; signal: AbortSignal }
        return instanceParts(deps.places, request.place, signal)
      }
    }
    if (operation === 'exports') {
      // as: its schema has parsed the request
      return (question) => {
        const { request, signal } = question as { request: ReadRequestOf<'exports'>; signal: AbortSignal }
        return exportPage(deps.exports, request, signal)
      }
    }
    // as: the schema and the answerer are the same operation's, which the compiler does not follow through a union
    return (await loaded())[operation satisfies PointRead] as (question: unknown) => Promise<unknown>
  }

  async function find(operation: HostRead, asked: ReadQuestion): Promise<unknown> {
    const deadline = AbortSignal.timeout(ANSWER_WITHIN_MS)
    const untilMs = performance.now() + FOUND_WITHIN_MS
    const request = READS[operation].request.safeParse(asked.body)
    if (!request.success) throw new FleetError('invalid', 'the question cannot be read', { cause: request.error })
    if (operation === 'instances') return deps.instances.page(READS.instances.request.parse(asked.body))
    const answerer = await answererOf(operation)
    const question = { id: asked.id, request: request.data, sealed: asked.secret, signal: deadline, untilMs }
    return within(deadline, async () =>
      slots.run(() => {
        if (deadline.aborted) throw late()
        return answerer(question)
      }),
    )
  }

  async function answered(operation: HostRead, question: Uint8Array): Promise<ReadAnswer> {
    try {
      if (waiting >= MAX_WAITING) throw new FleetError('busy', 'this host is asked too much at one time')
      waiting += 1
      try {
        const body = await find(operation, parseQuestion(question))
        return { v: WIRE_VERSION, ok: true, body }
      } finally {
        waiting -= 1
      }
    } catch (thrown) {
      const error = toFleetError(thrown)
      if (error.code === 'internal')
        deps.logger.warn({ event: 'host.read_broken', operation, err: error.cause ?? error })
      return { v: WIRE_VERSION, ok: false, error: failureOf(error) }
    }
  }

  return {
    answer: (operation, question) => (isRead(operation) ? answered(operation, question) : undefined),
    async [Symbol.asyncDispose]() {
      await (await answerers?.catch(() => undefined))?.[Symbol.asyncDispose]()
    },
  }
}

function parseQuestion(question: Uint8Array): ReadQuestion {
  try {
    return ReadQuestion.parse(JSON.parse(new TextDecoder().decode(question)))
  } catch (cause) {
    throw new FleetError('invalid', 'the question cannot be read', { cause })
  }
}

function isRead(operation: string): operation is HostRead {
  return Object.hasOwn(READS, operation)
}

/** What goes on beyond the deadline is left to end by itself: it was told to stop. */
async function within<Result>(deadline: AbortSignal, work: () => Promise<Result>): Promise<Result> {
  const { promise, reject } = Promise.withResolvers<never>()
  const onAbort = () => reject(late())
  deadline.addEventListener('abort', onAbort, { once: true })
  const working = work()
  working.catch(() => undefined) // told below, unless it is too late
  try {
    return await Promise.race([working, promise])
  } catch (error) {
    throw deadline.aborted ? late() : error
  } finally {
    deadline.removeEventListener('abort', onAbort)
  }
}

function late(): FleetError {
  return new FleetError('timeout', 'the target or its index took too long to answer')
}
