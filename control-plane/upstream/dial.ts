import { Agent, type ClientRequest, type IncomingMessage, type RequestOptions, request } from 'node:http'
import { request as requestTls, Agent as TlsAgent } from 'node:https'
import { FleetError } from '../../shared/errors.ts'

const SILENT = 'the block service behind this one does not answer'

export interface DialTimes {
  readonly connectMs: number
  /** Until the answer begins, and between two of its pieces or of the request's. */
  readonly idleMs: number
}

export interface Dialled {
  /** Ends with a slash. */
  readonly base: URL
  /** A request that is destroyed with `unavailable` where it takes longer than `times`. */
  open(url: URL, options: Pick<RequestOptions, 'method' | 'headers'>): ClientRequest
  close(): void
}

/** Connections to one service. @param url up to its version */
export function dial(url: string, connections: number, times: DialTimes): Dialled {
  const base = new URL(`${url.replace(/\/+$/, '')}/`)
  const isTls = base.protocol === 'https:'
  const agent = new (isTls ? TlsAgent : Agent)({ keepAlive: true, maxSockets: connections, maxFreeSockets: 16 })
  const openOne = isTls ? requestTls : request
  return {
    base,
    open(to, options) {
      const up = openOne(to, { ...options, agent })
      bound(up, times)
      return up
    },
    close: () => agent.destroy(),
  }
}

function bound(up: ClientRequest, { connectMs, idleMs }: DialTimes): void {
  const late = () => up.destroy(new FleetError('unavailable', SILENT))
  const connecting = setTimeout(late, connectMs)
  up.once('close', () => clearTimeout(connecting))
  up.once('socket', (socket) => {
    if (!socket.connecting) return clearTimeout(connecting)
    return void socket.once('connect', () => clearTimeout(connecting))
  })
  up.setTimeout(idleMs, late)
}

/** @throws unavailable, timeout: before anything of the answer came. */
export function answerOf(up: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    up.once('response', resolve)
    up.on('error', (cause) =>
      reject(cause instanceof FleetError ? cause : new FleetError('unavailable', SILENT, { cause })),
    )
    up.once('close', () => reject(new FleetError('unavailable', SILENT)))
  })
}
