import { readFileSync } from 'node:fs'
import { request as plainRequest } from 'node:http'
import { request as secureRequest } from 'node:https'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from '../../shared/logger.ts'
import { EnrolAnswer, type EnrolRequest } from '../../shared/wire/agent-enrolment.ts'

/**
 * Loaded only where a host is enrolled: HTTP costs memory that an agent does not need afterwards.
 */
const PATH = '/api/v1/hosts/enrol'
const TIMEOUT_MS = 10_000
const RETRY_FIRST_MS = 250
const RETRY_MAX_MS = 10_000

/** The control plane has said no: asking again changes nothing. */
export class EnrolmentRefused extends Error {
  override readonly name = 'EnrolmentRefused'
}

export interface ControlPlaneAddress {
  readonly url: string
  /** PEM: the authority that signed its certificate; absent: those that Node knows. */
  readonly caFile?: string | undefined
}

/** Asks until the control plane answers. @throws EnrolmentRefused. */
export async function enrol(address: ControlPlaneAddress, body: EnrolRequest, logger: Logger): Promise<EnrolAnswer> {
  for (let waitMs = RETRY_FIRST_MS; ; waitMs = Math.min(RETRY_MAX_MS, waitMs * 2)) {
    try {
      return await ask(address, body)
    } catch (error) {
      if (error instanceof EnrolmentRefused) throw error
      logger.warn({ event: 'host.enrolment_unanswered', url: address.url, error: String(error) })
      await delay(waitMs)
    }
  }
}

async function ask({ url, caFile }: ControlPlaneAddress, body: EnrolRequest): Promise<EnrolAnswer> {
  const target = new URL(PATH, url)
  const json = JSON.stringify(body)
  const options = {
    method: 'POST',
    // One request in a life: nothing to keep a connection for.
    agent: false as const,
    timeout: TIMEOUT_MS,
    signal: AbortSignal.timeout(TIMEOUT_MS),
    headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(json) },
    ...(caFile === undefined ? {} : { ca: readFileSync(caFile) }),
  }
  const { status, answer } = await new Promise<{ status: number; answer: string }>((resolve, reject) => {
    const send = target.protocol === 'https:' ? secureRequest : plainRequest
    const request = send(target, options, (response) => {
      text(response).then((answer) => resolve({ status: response.statusCode ?? 0, answer }), reject)
    })
    request.once('error', reject)
    request.end(json)
  })
  if (status === 200) return EnrolAnswer.parse(JSON.parse(answer))
  const said = `${status} ${answer.slice(0, MAX_SAID)}`
  // Busy and unavailable pass.
  if (status >= 500 || status === 429 || status === 408) throw new Error(said)
  throw new EnrolmentRefused(`the control plane refuses to enrol this host: ${said}`)
}

const MAX_SAID = 500
