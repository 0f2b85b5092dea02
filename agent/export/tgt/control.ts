import { connect } from 'node:net'
import { FleetError } from '../../../shared/errors.ts'
import { decodeAnswer, encodeRequest, type TgtRequest } from './request.ts'

/** tgtd does one at a time, and lets 32 wait. */
const AT_ONE_TIME = 8
const ANSWER_TIMEOUT_MS = 10_000
/** A hundred thousand targets' worth. */
const MAX_ANSWER_BYTES = 128 * 1_048_576

/** tgtd said no. `code`: one of TGT_ERRORS, or another of its numbers. */
export class TgtRefusal extends Error {
  override readonly name = 'TgtRefusal'
  readonly code: number

  constructor(request: TgtRequest, code: number) {
    super(`tgtd refuses ${request.operation} of ${request.mode} with ${code}`)
    this.code = code
  }
}

/** It cannot be reached, hung up, or did not answer in time: what was asked may have been done. */
export class TgtdAway extends FleetError {
  constructor(detail: string, cause?: unknown) {
    super('unavailable', 'the iSCSI target daemon does not answer', { detail, cause })
  }
}

/** What is asked of one tgtd over its control socket. */
export interface Control {
  /** @returns its text, '' for what only succeeds. @throws TgtRefusal, TgtdAway */
  ask(request: TgtRequest): Promise<string>
  /** As `ask`; an answer that is one of `codes` is success. */
  settle(request: TgtRequest, ...codes: readonly number[]): Promise<void>
}

export function createControl(path: string): Control {
  const waiting: (() => void)[] = []
  let running = 0

  async function ask(request: TgtRequest): Promise<string> {
    // Handed over by who ends, so that nobody comes in between.
    if (running >= AT_ONE_TIME) await new Promise<void>((resolve) => waiting.push(resolve))
    else running += 1
    try {
      const { code, text } = await exchange(path, encodeRequest(request))
      if (code !== 0) throw new TgtRefusal(request, code)
      return text
    } finally {
      const next = waiting.shift()
      if (next === undefined) running -= 1
      else next()
    }
  }

  return {
    ask,
    async settle(request, ...codes) {
      try {
        await ask(request)
      } catch (error) {
        if (!(error instanceof TgtRefusal && codes.includes(error.code))) throw error
      }
    },
  }
}

function exchange(path: string, request: Buffer): Promise<{ readonly code: number; readonly text: string }> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let bytes = 0
    const socket = connect(path)
    const fail = (reason: string, cause?: unknown) => {
      socket.destroy()
      reject(new TgtdAway(reason, cause))
    }
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => fail('no answer in time'))
    socket.once('error', (error) => fail(error.message, error))
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      bytes += chunk.length
      if (bytes > MAX_ANSWER_BYTES) fail('its answer is too long')
    })
    socket.once('close', () => {
      const answer = decodeAnswer(Buffer.concat(chunks))
      if (answer === undefined) fail('it hung up')
      else resolve(answer)
    })
    socket.write(request)
  })
}
