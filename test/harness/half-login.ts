import { connect } from 'node:net'
import type { Login } from './initiator.ts'

const HEAD_BYTES = 48
const TIMEOUT_MS = 10_000
const MAX_STEPS = 5
/** Stages of a login: RFC 3720, 10.12. */
const SECURITY = 0
const OPERATIONAL = 1
const FULL = 3
const TRANSIT = 0x80

/** A login that was let begin: its names were looked at, and it has no session yet. */
export interface HalfLogin {
  /** Ends it. @returns whether that was allowed */
  finish(): Promise<boolean>
  /** Whether the target has hung up. */
  isClosed(): boolean
  end(): void
}

/** Says by hand what an initiator says first. @throws where it is not let in */
export async function beginLogin({ portal, target, initiator }: Login): Promise<HalfLogin> {
  const [host, port] = portal.split(':')
  const socket = connect(Number(port), host)
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  let received = Buffer.alloc(0)
  socket.on('error', () => undefined)
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk])
  })

  async function answer(): Promise<Buffer | undefined> {
    for (;;) {
      const bytes = received.length < HEAD_BYTES ? undefined : HEAD_BYTES + padded(received.readUIntBE(5, 3))
      if (bytes !== undefined && received.length >= bytes) {
        const whole = received.subarray(0, bytes)
        received = received.subarray(bytes)
        return whole
      }
      const more = new Promise<true>((resolve) => socket.once('data', () => resolve(true)))
      if ((await Promise.race([more, closed, late()])) !== true) return undefined
    }
  }

  /** @returns whether it has come as far as that; undefined: it is to go on */
  async function step(from: number, to: number, keys: readonly string[]): Promise<boolean | undefined> {
    socket.write(loginRequest(from, to, keys))
    const told = await answer()
    if (told === undefined || told.readUInt8(36) !== 0) return false
    return (told.readUInt8(1) & TRANSIT) === 0 ? undefined : true
  }

  const names = [`InitiatorName=${initiator}`, 'SessionType=Normal', `TargetName=${target}`, 'AuthMethod=None']
  if ((await step(SECURITY, OPERATIONAL, names)) !== true) {
    socket.destroy()
    throw new Error(`${initiator} cannot begin to log in to ${target}`)
  }
  return {
    async finish() {
      for (let n = 0; n < MAX_STEPS; n += 1) {
        const done = await step(OPERATIONAL, FULL, [])
        if (done !== undefined) return done
      }
      return false
    },
    isClosed: () => socket.closed,
    end: () => socket.destroy(),
  }
}

function loginRequest(from: number, to: number, keys: readonly string[]): Buffer {
  const text = Buffer.from(keys.map((key) => `${key}\0`).join(''))
  const request = Buffer.alloc(HEAD_BYTES + padded(text.length))
  request.writeUInt8(0x43, 0) // Login Request, immediate
  request.writeUInt8(TRANSIT | (from << 2) | to, 1)
  request.writeUIntBE(text.length, 5, 3)
  request.writeUIntBE(0x80123456, 8, 4) // ISID
  request.writeUInt32BE(1, 24) // CmdSN
  text.copy(request, HEAD_BYTES)
  return request
}

function padded(bytes: number): number {
  return Math.ceil(bytes / 4) * 4
}

function late(): Promise<undefined> {
  return new Promise((resolve) => setTimeout(() => resolve(undefined), TIMEOUT_MS).unref())
}
