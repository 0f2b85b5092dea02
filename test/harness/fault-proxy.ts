import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

export type Fault =
  | { readonly kind: 'none' }
  /** Ends the connection after so many bytes of the client, counted over all of them together. */
  | { readonly kind: 'cut'; readonly afterBytes: number /** Nobody is there afterwards. */; readonly forGood?: boolean }
  /** The connection stays and nothing passes any more. */
  | { readonly kind: 'stall'; readonly afterBytes: number }

/** Stands between a client and a server on 127.0.0.1 and breaks what passes. */
export class FaultProxy {
  readonly port: number
  fault: Fault = { kind: 'none' }
  /** Connections that were ended by a fault. */
  cuts = 0
  /** How often something did not pass, as it was to stall. */
  stalled = 0
  /** What the server has sent. */
  answeredBytes = 0
  #bytes = 0
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(server: Server, port: number) {
    this.#server = server
    this.port = port
  }

  static async start(serverPort: number): Promise<FaultProxy> {
    const server = createServer({ noDelay: true }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    // as: a TCP server that listens has an AddressInfo
    const proxy = new FaultProxy(server, (server.address() as AddressInfo).port)
    server.on('connection', (client) =>
      proxy.#join(client, connect({ port: serverPort, host: '127.0.0.1', noDelay: true })),
    )
    return proxy
  }

  /** Counts from zero. */
  set(fault: Fault): void {
    this.#bytes = 0
    this.fault = fault
  }

  /** Ends every connection there is. */
  dropAll(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  async close(): Promise<void> {
    this.dropAll()
    if (!this.#server.listening) return
    this.#server.close()
    await once(this.#server, 'close')
  }

  #join(client: Socket, server: Socket): void {
    for (const socket of [client, server]) {
      this.#sockets.add(socket)
      socket.on('error', () => undefined)
      socket.once('close', () => {
        this.#sockets.delete(socket)
        client.destroy()
        server.destroy()
      })
    }
    const pass = (from: Socket, to: Socket, counted: boolean) => {
      from.on('data', (chunk: Buffer) => {
        if (counted) this.#bytes += chunk.length
        else this.answeredBytes += chunk.length
        if (this.fault.kind !== 'none' && this.#bytes > this.fault.afterBytes) return this.#break(from, client, counted)
        if (!to.write(chunk)) from.pause()
      })
      to.on('drain', () => {
        if (this.fault.kind !== 'stall' || this.#bytes <= this.fault.afterBytes) from.resume()
      })
    }
    pass(client, server, true)
    pass(server, client, false)
  }

  #break(from: Socket, client: Socket, counted: boolean): void {
    if (this.fault.kind === 'stall') {
      this.stalled += 1
      return void from.pause()
    }
    if (counted) {
      this.cuts += 1
      if (this.fault.kind === 'cut' && this.fault.forGood) {
        this.#server.close()
        this.dropAll()
      }
      this.fault = { kind: 'none' }
    }
    client.resetAndDestroy()
  }
}
