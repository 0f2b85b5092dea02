import { createServer, type ServerResponse } from 'node:http'
import { z } from 'zod'
import { endWithParent, readOptions, tellParent } from './options.ts'

/** The peer of the long poll: holds every request until it is told the answer to all of them, and knows no more than that. */
const { port } = readOptions(z.object({ port: z.number() }))
const Told = z.object({ answer: z.string() })

endWithParent()
let held: ServerResponse[] = []
const server = createServer({ keepAliveTimeout: 0 }, (_request, response) => void held.push(response))
server.listen(port, '127.0.0.1', () => tellParent('ready'))
process.on('message', (message: unknown) => {
  const { answer } = Told.parse(message)
  const waiting = held
  held = []
  for (const response of waiting) {
    response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': answer.length }).end(answer)
  }
})
