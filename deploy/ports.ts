import { once } from 'node:events'
import { createServer } from 'node:net'
import { z } from 'zod'
import { readKept, writeKept } from './kept-json.ts'

const LOOPBACK = '127.0.0.1'
const KeptPort = z.object({ port: z.number().int().min(1).max(65_535) })

/** @param port 0 lets the system choose. @returns the port, or undefined when it is in use. */
async function tryPort(port: number): Promise<number | undefined> {
  const server = createServer()
  try {
    server.listen(port, LOOPBACK)
    await once(server, 'listening')
    const address = server.address()
    return typeof address === 'object' ? address?.port : undefined
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') return undefined
    throw error
  } finally {
    server.close()
  }
}

export async function isPortFree(port: number): Promise<boolean> {
  return (await tryPort(port)) !== undefined
}

/** Where a private server listens, or last did. */
export function readPort(path: string): number | undefined {
  return readKept(path, KeptPort)?.port
}

/** The port a private server used last time if it is still free, else a free one, which is kept from now on. */
export async function keptPort(path: string): Promise<number> {
  const kept = readPort(path)
  if (kept !== undefined && (await isPortFree(kept))) return kept
  const port = await tryPort(0)
  if (port === undefined) throw new Error('the system gave no free port')
  writeKept(path, { port })
  return port
}
