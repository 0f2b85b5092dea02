import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { LoadOrder, type LoadResult } from '../harness/load.ts'
import { endWithParent, tellParent } from './options.ts'

/**
 * HTTP/1.1 load over keep-alive connections, one request at a time on each. It speaks the protocol itself because
 * `node:http`'s client takes several times the processor time, which on two cores is taken from what is measured.
 */

const HEAD_END = '\r\n\r\n'
let number = 0

interface Connection {
  /** @returns milliseconds until the whole answer was here. @throws on any status but 2xx. */
  exchange(request: string): Promise<number>
  close(): void
}

async function open(port: number): Promise<Connection> {
  const socket: Socket = connect({ port, host: '127.0.0.1', noDelay: true })
  socket.setEncoding('latin1')
  await once(socket, 'connect')
  let received = ''
  let settle: { resolve: (ms: number) => void; reject: (error: Error) => void; startedAt: number } | undefined

  function finish(whole: string): void {
    const waiting = settle
    settle = undefined
    received = ''
    if (waiting === undefined) return
    if (whole.startsWith('HTTP/1.1 2')) waiting.resolve(performance.now() - waiting.startedAt)
    else waiting.reject(new Error(`unexpected answer: ${whole}`))
  }

  socket.on('data', (chunk: string) => {
    received += chunk
    const headEnd = received.indexOf(HEAD_END)
    if (headEnd < 0) return
    const length = /\r\ncontent-length: (\d+)/i.exec(received.slice(0, headEnd + 2))?.[1]
    if (length === undefined) settle?.reject(new Error(`an answer without a length: ${received}`))
    else if (received.length >= headEnd + HEAD_END.length + Number(length)) finish(received)
  })
  socket.on('error', (error) => settle?.reject(error))
  socket.on('close', () => settle?.reject(new Error('the connection was closed')))

  return {
    exchange(request) {
      return new Promise((resolve, reject) => {
        settle = { resolve, reject, startedAt: performance.now() }
        socket.write(request)
      })
    },
    close: () => socket.destroy(),
  }
}

async function load(order: LoadOrder): Promise<LoadResult> {
  const authorization = order.token === undefined ? '' : `Authorization: Bearer ${order.token}\r\n`
  const method = order.method ?? 'POST'
  const first = `${method} ${order.path} HTTP/1.1\r\nHost: 127.0.0.1:${order.port}\r\n${authorization}`
  const { body: template } = order
  const request = (n: number) => {
    if (template === undefined) return `${first}\r\n`
    const body = template.replaceAll('%n', String(n))
    return `${first}Content-Type: application/json\r\nContent-Length: ${body.length}${HEAD_END}${body}`
  }
  const connections = await Promise.all(Array.from({ length: order.inFlight }, () => open(order.port)))
  const latenciesMs: number[] = []
  let left = order.requests

  async function work(connection: Connection): Promise<void> {
    while (left > 0) {
      left -= 1
      number += 1
      latenciesMs.push(await connection.exchange(request(number)))
    }
  }

  const startedAt = performance.now()
  try {
    await Promise.all(connections.map(work))
    return { seconds: (performance.now() - startedAt) / 1000, latenciesMs }
  } finally {
    for (const connection of connections) connection.close()
  }
}

endWithParent()
process.on('message', (message: unknown) => {
  load(LoadOrder.parse(message)).then(tellParent, (error: unknown) => tellParent({ failure: String(error) }))
})
tellParent('ready')
