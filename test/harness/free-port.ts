import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'

/** A TCP port of 127.0.0.1 that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  // as: a TCP server that listens has an AddressInfo
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
