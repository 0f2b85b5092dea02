import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { ExecutionContext } from 'ava'

/** A server of one test, which answers as that test has it. @returns its port on 127.0.0.1 */
export async function startServer(t: ExecutionContext, answer: RequestListener): Promise<number> {
  const server = createServer(answer).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  // as: a TCP server that listens has an AddressInfo
  return (server.address() as AddressInfo).port
}
