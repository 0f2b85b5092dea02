import { connect } from 'node:net'
import { z } from 'zod'
import { endWithParent, readOptions, tellParent } from './options.ts'

/**
 * Many WebSocket clients that count messages and look at none: who measures a broadcast must cost less than the broadcast.
 * Asked to wait for a number of messages each, it answers when the last client has them. Pings are answered.
 */
const { port, path, token, clients } = readOptions(
  z.object({ port: z.number(), path: z.string(), token: z.string().optional(), clients: z.number().int().positive() }),
)

const READ_BYTES = 65_536
const OPEN_AT_ONCE = 100
/** RFC 6455's own example key; nobody checks the answer here. */
const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
const Wish = z.object({ messagesEach: z.number() })
/** RFC 6455, section 5.2: opcodes of the frames that servers send here, and a masked pong without a payload. */
const TEXT = 1
const PING = 9
const PONG = Buffer.from([0x8a, 0x80, 0, 0, 0, 0])

endWithParent()
const authorization = token === undefined ? '' : `Authorization: Bearer ${token}\r\n`
const handshake =
  `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${authorization}Connection: Upgrade\r\nUpgrade: websocket\r\n` +
  `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`
const buffer = Buffer.allocUnsafe(READ_BYTES)
const received = new Float64Array(clients)
let wanted = Number.POSITIVE_INFINITY
let missing = 0

function count(client: number): void {
  const now = (received[client] ?? 0) + 1
  received[client] = now
  if (now !== wanted) return
  missing -= 1
  if (missing === 0) tellParent('received')
}

/** Walks over one connection's frames: headers are read, payloads skipped. */
function createFrames(client: number, pong: () => void): (bytes: Buffer) => void {
  let header = Buffer.alloc(0)
  let payload = 0
  return (chunk) => {
    let at = Math.min(payload, chunk.length)
    payload -= at
    while (at < chunk.length) {
      const bytes = header.length === 0 ? chunk.subarray(at) : Buffer.concat([header, chunk.subarray(at)])
      const length = (bytes[1] ?? 0) & 0x7f
      const size = length === 126 ? 4 : 2
      if (bytes.length < size) {
        header = Buffer.from(bytes)
        return
      }
      const opcode = (bytes[0] ?? 0) & 0x0f
      if (opcode === TEXT) count(client)
      if (opcode === PING) pong()
      payload = length === 126 ? bytes.readUInt16BE(2) : length
      at += size - header.length
      header = Buffer.alloc(0)
      const skipped = Math.min(payload, chunk.length - at)
      payload -= skipped
      at += skipped
    }
  }
}

/** Resolves when it is upgraded; what came after the answer's head counts already. */
function open(client: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let head = ''
    let upgraded = false
    const walk = createFrames(client, () => socket.write(PONG))
    const callback = (size: number) => {
      const chunk = buffer.subarray(0, size)
      if (upgraded) walk(chunk)
      else {
        head += chunk.toString('latin1')
        const end = head.indexOf('\r\n\r\n')
        if (end < 0) return true
        if (!head.startsWith('HTTP/1.1 101')) reject(new Error(head))
        upgraded = true
        walk(Buffer.from(head.slice(end + 4), 'latin1'))
        resolve()
      }
      return true
    }
    const socket = connect({ port, host: '127.0.0.1', onread: { buffer, callback } })
    socket.once('connect', () => socket.write(handshake))
    socket.on('error', reject)
    socket.on('close', () => process.exit(1))
  })
}

for (let first = 0; first < clients; first += OPEN_AT_ONCE) {
  const group = Array.from({ length: Math.min(OPEN_AT_ONCE, clients - first) }, (_, n) => open(first + n))
  await Promise.all(group)
}
process.on('message', (message: unknown) => {
  const { messagesEach } = Wish.parse(message)
  received.fill(0)
  wanted = messagesEach
  missing = clients
  tellParent('waiting')
})
tellParent('ready')
