import { WebSocketServer } from 'ws'
import { z } from 'zod'
import { endWithParent, readOptions, tellParent } from './options.ts'

/** The peer of the feed: a bare `ws` server that sends each message to every client, and knows no more than that. */
const { port } = readOptions(z.object({ port: z.number() }))
const Broadcast = z.object({ messages: z.array(z.string()) })

endWithParent()
const server = new WebSocketServer({ port, host: '127.0.0.1', perMessageDeflate: false })
server.once('listening', () => tellParent('ready'))
process.on('message', (message: unknown) => {
  for (const text of Broadcast.parse(message).messages) {
    const bytes = Buffer.from(text)
    for (const client of server.clients) client.send(bytes, { binary: false })
  }
})
