import type { NatsConnection } from 'nats'
import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import type { TargetSecret } from '../../shared/target-config.ts'
import { WIRE_VERSION } from '../../shared/wire/messages.ts'
import {
  type HostRead,
  READ_TIMEOUT_MS,
  READS,
  ReadAnswer,
  type ReadAnswerOf,
  type ReadQuestion,
} from '../../shared/wire/reads.ts'
import { subjects } from '../../shared/wire/subjects.ts'
import { checkRequest } from '../core/check-request.ts'
import type { HostReads } from '../core/host-reads.ts'
import { failureOf } from '../core/jobs.ts'
import type { HostSeal } from '../core/secrets.ts'

/** What NATS takes in one message, and some room for what is around it. */
const MAX_BYTES = 1_000_000

/** Asks agents over NATS; they answer at once or not at all. */
export function createHostReads(deps: { readonly nats: NatsConnection; readonly seal: HostSeal }): HostReads {
  const { nats, seal } = deps

  async function sealed(host: string, id: string, secret: TargetSecret): Promise<string> {
    try {
      return await seal.seal(host, Buffer.from(JSON.stringify(secret)), `read/${id}`)
    } catch (error) {
      if (!(error instanceof FleetError && error.code === 'refused')) throw error
      throw new FleetError('unavailable', `host '${host}' cannot be sent a secret: it was not enrolled`, {
        cause: error,
      })
    }
  }

  /** @throws unavailable when nobody answers, or not in time. */
  async function exchange(host: string, operation: HostRead, question: ReadQuestion): Promise<ReadAnswer> {
    const text = JSON.stringify(question)
    if (Buffer.byteLength(text) > MAX_BYTES) throw new FleetError('too_large', 'the question does not fit one message')
    const reply = await nats
      .request(subjects.read(host, operation), text, { timeout: READ_TIMEOUT_MS })
      .catch((cause: unknown) => {
        throw new FleetError('unavailable', `host '${host}' did not answer`, { cause })
      })
    return readable(host, operation, () => ReadAnswer.parse(reply.json()))
  }

  return {
    async ask(host, operation, request, secret) {
      const body = checkRequest(READS[operation].request, request)
      const id = newId()
      const question: ReadQuestion = { v: WIRE_VERSION, id, body }
      if (secret !== undefined) question.secret = await sealed(host, id, secret)
      const answer = await exchange(host, operation, question)
      if (!answer.ok) throw failureOf(answer.error)
      // as: the schema is the operation's, which its type does not follow
      return readable(host, operation, () => READS[operation].answer.parse(answer.body)) as ReadAnswerOf<
        typeof operation
      >
    },
  }
}

/** @throws internal for an answer that is none. */
function readable<Value>(host: string, operation: HostRead, read: () => Value): Value {
  try {
    return read()
  } catch (cause) {
    throw new FleetError('internal', 'internal error', { cause, detail: `${host} answered '${operation}' unreadably` })
  }
}
