import { renameSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'

/** As tgtd's requests have them: usr/tgtadm.h of tgt. */
export const TGT_MODES = { target: 1, unit: 2, account: 7 } as const
export const TGT_OPERATIONS = { new: 0, delete: 1, bind: 3, update: 5 } as const
const HEAD_BYTES = 120

export interface ControlRequest {
  readonly mode: number
  readonly operation: number
  /** `key=value` pairs; '' where it has none. */
  readonly params: string
}

/** `lose`: it is done, and nobody is told. `refuse`: it is not done, and tgtd is said to have failed. */
export type Fate = 'pass' | 'lose' | 'refuse'

/**
 * Stands between an agent and the control socket of its tgtd from now on; the connection that the agent has stays.
 * @param directory the tgtd's own
 */
export async function interceptControl(
  directory: string,
  fateOf: (request: ControlRequest) => Fate,
): Promise<AsyncDisposable> {
  const [path, real] = [join(directory, 'control.0'), join(directory, 'real.0')]
  renameSync(path, real)
  const open = new Set<Socket>()
  const server = createServer((client) => {
    open.add(client)
    client.on('error', () => undefined).on('close', () => open.delete(client))
    const chunks: Buffer[] = []
    client.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      const bytes = Buffer.concat(chunks)
      if (bytes.length < HEAD_BYTES || bytes.length < bytes.readUInt32LE(72)) return
      const params = bytes.toString('utf8', HEAD_BYTES).replace(/\0+$/, '')
      const fate = fateOf({ mode: bytes.readUInt32LE(0), operation: bytes.readUInt32LE(4), params })
      if (fate === 'refuse') client.end(refusal())
      else relay(real, bytes, fate === 'pass' ? client : undefined).then((told) => told || client.destroy())
    })
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  return {
    async [Symbol.asyncDispose]() {
      for (const client of open) client.destroy()
      await new Promise((resolve) => server.close(resolve))
      rmSync(path, { force: true })
      renameSync(real, path)
    },
  }
}

/** TGTADM_UNKNOWN_ERR */
function refusal(): Buffer {
  const answer = Buffer.alloc(8)
  answer.writeUInt32LE(1, 0)
  answer.writeUInt32LE(8, 4)
  return answer
}

/** Resolves once tgtd has answered. @returns whether the answer was passed on */
function relay(path: string, request: Buffer, client: Socket | undefined): Promise<boolean> {
  return new Promise((resolve) => {
    const answer: Buffer[] = []
    const tgtd = connect(path)
    tgtd.on('error', () => undefined).on('data', (chunk: Buffer) => answer.push(chunk))
    tgtd.on('close', () => {
      client?.end(Buffer.concat(answer))
      resolve(client !== undefined)
    })
    tgtd.write(request)
  })
}
