import { FleetError } from '../../shared/errors.ts'
import type { Command } from './commands.ts'
import { type Libiscsi, libiscsi, type RegisteredCallback, readTask } from './library.ts'

/** A LUN, and how to get there: plain data, which may be handed to a thread. */
export interface LunLogin {
  /** `address:port`, each one that was checked; tried in turn. */
  readonly addresses: readonly string[]
  readonly targetName: string
  readonly lun: number
  readonly initiator: string
  readonly chap: { readonly user: string; readonly secret: string } | undefined
  /** What it must have. */
  readonly sizeBytes: number
  /** Before each time that all addresses are tried once a connection is lost; as many as there are. */
  readonly pausesMs?: readonly number[]
}

export interface Answer {
  /** SAM-5, or one of the library's own. */
  readonly status: number
  readonly senseKey: number
  readonly ascq: number
  readonly shortBytes: number
}

export const STATUS = { good: 0, check: 2, busy: 8, reserved: 0x18, full: 0x28 } as const
const REDIRECT = 0x101
const MAX_SAM_STATUS = 255
const NO_TASK = { senseKey: 0, ascq: 0, shortBytes: 0 }
const DIRECTIONS = { none: 0, in: 1, out: 2 } as const
const NORMAL_SESSION = 2
const LOGIN_MS = 10_000
const LOGOUT_MS = 1_000
const STEP_MS = 100
const POLL_BYTES = 8
const POLLERR = 0x008
const POLLHUP = 0x010
const POLLRDHUP = 0x2000
const REFUSES = 'it refuses the connection, or hangs up'
const F_SETFD = 2
const FD_CLOEXEC = 1

/** It can be tried again, here or at another address. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost'
}

/** Another address is to be asked. */
export class Redirected extends Error {
  override readonly name = 'Redirected'
  readonly address: string

  constructor(address: string) {
    super(`the target is at ${address}`)
    this.address = address
  }
}

interface Waiting {
  /** Whose memory the library uses, and what it knows it by; undefined for a login and the like. */
  readonly sent: { readonly command: Command; readonly task: number } | undefined
  readonly take: (answer: Answer) => void
}

/** One session with a target over one connection: connecting → logged in → closed. For a thread that works synchronously. */
export class Connection implements Disposable {
  readonly #library: Libiscsi
  readonly #login: LunLogin
  readonly #stop: () => void
  readonly #callback: RegisteredCallback
  readonly #context: number
  readonly #waiting = new Map<number, Waiting>()
  #heard: { readonly status: number; readonly tag: number }[] = []
  readonly #poll = Buffer.alloc(POLL_BYTES)
  #tag = 0
  #isIn = false
  #isOpen = true

  /** @param stop throws when the work is to end; asked ten times a second */
  constructor(login: LunLogin, stop: () => void) {
    this.#library = libiscsi()
    this.#login = login
    this.#stop = stop
    this.#context = this.#library.create(login.initiator)
    if (this.#context === 0) throw new FleetError('internal', 'libiscsi makes no session')
    this.#callback = this.#library.register((_context, status, _task, tag) => {
      this.#heard.push({ status, tag })
    })
  }

  /**
   * @throws ConnectionLost, Redirected; FleetError refused (it lets this initiator not in), not_found (no such target there)
   */
  open(address: string): void {
    const { setTarget, setType, setNoReconnect, setChap, connect, login, fd, fcntl, error } = this.#library
    const { targetName, chap } = this.#login
    setTarget(this.#context, targetName)
    setType(this.#context, NORMAL_SESSION)
    // The library would go wherever it is sent, and repeat commands that nobody waits for any more.
    setNoReconnect(this.#context, 1)
    if (chap !== undefined) setChap(this.#context, chap.user, chap.secret)
    const untilMs = performance.now() + LOGIN_MS
    const connected = this.#ask((tag) => {
      const begun = connect(this.#context, address, this.#callback, tag)
      // No process that is started meanwhile may keep it open.
      if (begun === 0) fcntl(fd(this.#context), F_SETFD, FD_CLOEXEC)
      return begun
    }, untilMs)
    if (connected !== STATUS.good) throw new ConnectionLost(REFUSES)
    const status = this.#ask((tag) => login(this.#context, this.#callback, tag), untilMs)
    if (status === REDIRECT) throw new Redirected(this.#library.redirectedTo(this.#context).replace(/,\d+$/, ''))
    if (status !== STATUS.good) throw loginFailure(error(this.#context))
    this.#isIn = true
  }

  /** @param take is told when the answer is there, from within `step` */
  send(command: Command, take: (answer: Answer) => void): void {
    const { createTask, freeTask, takesIn, givesOut, send } = this.#library
    const { cdb, direction, data } = command
    const task = createTask(cdb.length, cdb, DIRECTIONS[direction], data.length)
    if (direction === 'in') takesIn(task, data.length, data)
    if (direction === 'out') givesOut(task, data.length, data)
    const tag = this.#await({ sent: { command, task }, take })
    if (send(this.#context, addressOf(this.#login.lun), task, this.#callback, null, tag) === 0) return
    this.#waiting.delete(tag)
    freeTask(task)
    throw new ConnectionLost(this.#library.error(this.#context))
  }

  /** Sends what waits, and takes what came; waits for that a tenth of a second at most. @throws ConnectionLost */
  step(): void {
    this.#stop()
    const { poll, fd, events, serve, error } = this.#library
    this.#poll.writeInt32LE(fd(this.#context), 0)
    this.#poll.writeInt16LE(events(this.#context) | POLLRDHUP, 4)
    this.#poll.writeInt16LE(0, 6)
    const found = poll(this.#poll, 1, STEP_MS) > 0 ? this.#poll.readInt16LE(6) : 0
    const served = serve(this.#context, found & ~POLLRDHUP)
    const told = this.#tell()
    // Everything that had come was read before this.
    if (served < 0 || told === 'cancelled' || (found & (POLLHUP | POLLERR | POLLRDHUP)) !== 0)
      throw new ConnectionLost(this.#isIn ? error(this.#context).trim() : REFUSES)
  }

  /** Says goodbye, if the target is there to hear it. */
  close(): void {
    try {
      if (this.#isIn && this.#isOpen && this.#waiting.size === 0) {
        this.#isIn = false
        const untilMs = performance.now() + LOGOUT_MS
        this.#ask((tag) => this.#library.logout(this.#context, this.#callback, tag), untilMs)
      }
    } catch {
      // It ends all the same.
    } finally {
      this[Symbol.dispose]()
    }
  }

  [Symbol.dispose](): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    // Tells of all that waits that it is cancelled, and its memory is used no more.
    this.#library.destroy(this.#context)
    for (const { sent } of this.#waiting.values()) if (sent !== undefined) this.#library.freeTask(sent.task)
    this.#heard = []
    this.#waiting.clear()
    this.#library.unregister(this.#callback)
  }

  #await(waiting: Waiting): number {
    this.#tag += 1
    this.#waiting.set(this.#tag, waiting)
    return this.#tag
  }

  /** @returns the status of what has no task */
  #ask(begin: (tag: number) => number, untilMs: number): number {
    let status: number | undefined
    const take = (answer: Answer) => {
      status = answer.status
    }
    const begun = begin(this.#await({ sent: undefined, take }))
    if (begun !== 0) throw new ConnectionLost(this.#library.error(this.#context))
    while (status === undefined) {
      if (performance.now() > untilMs) throw new ConnectionLost('no answer')
      this.#stepUnless(() => status !== undefined)
    }
    return status
  }

  /** A target that says why, and hangs up, is heard first. */
  #stepUnless(isDone: () => boolean): void {
    try {
      this.step()
    } catch (error) {
      if (!(error instanceof ConnectionLost) || !isDone()) throw error
    }
  }

  #tell(): 'cancelled' | 'told' {
    let told: 'cancelled' | 'told' = 'told'
    const heard = this.#heard
    this.#heard = []
    for (const { status, tag } of heard) {
      const waiting = this.#waiting.get(tag)
      if (waiting === undefined) continue
      const { sent, take } = waiting
      // A status of the library's own, of a command: it was cut off. Its memory is given back with the rest.
      if (sent !== undefined && status > MAX_SAM_STATUS) {
        told = 'cancelled'
        continue
      }
      this.#waiting.delete(tag)
      const end = sent === undefined ? NO_TASK : readTask(sent.task)
      if (sent !== undefined) this.#library.freeTask(sent.task)
      take({ status, ...end })
    }
    return told
  }
}

/** Numbers beyond those of the peripheral method are told by the flat space method (SAM-5, 4.7.7.4); the library writes down what it is given. */
function addressOf(lun: number): number {
  return lun < 256 ? lun : 0x4000 | lun
}

/** What a target says of a login (RFC 3720, 10.13.5): class and detail, as the library tells them at the end of its line. */
function loginFailure(text: string): Error {
  const status = Number(/\((\d+)\)\s*$/.exec(text)?.[1] ?? 0)
  const extras = { detail: text }
  if (status === 0x0201 || status === 0x0202)
    return new FleetError(
      'refused',
      'the target does not let this host in: its name, user or secret is not right',
      extras,
    )
  if (status === 0x0203 || status === 0x0204) return new FleetError('not_found', 'there is no such target', extras)
  if (status >= 0x0200 && status < 0x0300) return new FleetError('refused', 'the target refuses the login', extras)
  if (/CHAP/i.test(text)) return new FleetError('refused', 'the target refuses the login', extras)
  return new ConnectionLost(text)
}
