import type { IncomingMessage } from 'node:http'
import { FleetError } from '../../shared/errors.ts'

export const BODY_MAX_BYTES = 1024 * 1024

function tooLarge(): FleetError {
  return new FleetError('too_large', `the body is over ${BODY_MAX_BYTES} bytes`, { field: 'body' })
}

/** @throws too_large when the headers already say so. Node discards what the client goes on sending. */
export function refuseLargeBody(request: IncomingMessage): void {
  const announced = request.headers['content-length']
  if (announced !== undefined && Number(announced) > BODY_MAX_BYTES) throw tooLarge()
}

/**
 * The whole body, at most BODY_MAX_BYTES. The rest of a larger one is read and dropped, because a client that still
 * sends would meet a reset instead of its 413.
 */
function readBytes(request: IncomingMessage): Promise<Buffer> {
  const peeked = peekedBody(request)
  if (peeked !== undefined) return Promise.resolve(peeked)
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let sizeBytes = 0
    request.on('data', (chunk: Buffer) => {
      sizeBytes += chunk.length
      if (sizeBytes <= BODY_MAX_BYTES) return void chunks.push(chunk)
      chunks.length = 0
      reject(tooLarge())
    })
    request.on('end', () => resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)))
    request.on('close', () => {
      if (!request.complete) reject(new FleetError('invalid', 'the body ended early', { field: 'body' }))
    })
    request.on('error', (cause) => reject(new FleetError('invalid', 'the body ended early', { field: 'body', cause })))
  })
}

const peekedBodies = new WeakMap<IncomingMessage, Buffer>()

/** The whole body, for somebody who looks at it before its reader does. @throws as the readers. */
export async function peekBody(request: IncomingMessage): Promise<Buffer> {
  refuseLargeBody(request)
  const bytes = await readBytes(request)
  peekedBodies.set(request, bytes)
  return bytes
}

/** What somebody looked at before; undefined: the body is still to be read. */
export function peekedBody(request: IncomingMessage): Buffer | undefined {
  return peekedBodies.get(request)
}

/**
 * The body as JSON, whatever its Content-Type says (`curl -d` claims a form); undefined when it is empty.
 * @throws invalid, too_large.
 */
export async function readJson(request: IncomingMessage): Promise<unknown> {
  return parseJson(await readText(request))
}

/** The body as JSON when it begins as an object does, else as a form. @throws invalid, too_large. */
export async function readForm(request: IncomingMessage): Promise<unknown> {
  const text = await readText(request)
  if (text === '' || text.trimStart().startsWith('{')) return parseJson(text)
  return Object.fromEntries(new URLSearchParams(text))
}

async function readText(request: IncomingMessage): Promise<string> {
  const bytes = await readBytes(request)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new FleetError('invalid', 'body: is not valid JSON: it must be UTF-8', { field: 'body', cause })
  }
}

function parseJson(text: string): unknown {
  if (text === '') return undefined
  try {
    return JSON.parse(text)
  } catch {
    // Not handed on: the parser's message quotes the body.
    throw new FleetError('invalid', 'body: is not valid JSON', { field: 'body' })
  }
}
