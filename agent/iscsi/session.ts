import { FleetError } from '../../shared/errors.ts'
import { type Meaning, meaningOf } from './answers.ts'
import type { Command } from './commands.ts'
import { type Answer, Connection, ConnectionLost, type LunLogin, Redirected } from './connection.ts'
import { lookAt, sleep, type Unit } from './unit.ts'

/** Nothing came for so long, and something is to come. */
const STALL_MS = 60_000
const PAUSES_MS = [0, 1_000, 2_000, 4_000, 8_000]
/** At first nobody knows whether there is a target at all. */
const FIRST_PAUSES_MS = [0, 1_000]
/** Of one command that the target answers with no more than that it shall be asked again. */
const MAX_AGAIN = 100
const AGAIN_PAUSE_MS = 50
const SLEEP_MS = 50

/** A command that was sent, and is sent again when its connection is lost. */
export interface Pending {
  readonly command: Command
  /** Undefined while it is on its way; `good`, `unreadable` or `unknown` then. */
  end: Exclude<Meaning, 'again' | FleetError> | undefined
  /** So much less came than was asked for. */
  shortBytes: number
}

interface Sent extends Pending {
  again: number
}

/**
 * A LUN that nobody else writes to, over a connection that is made anew when it is lost, and the commands on their way then are given again:
 * all of them do the same twice. For a thread that works synchronously.
 */
export class Session implements Disposable {
  readonly #login: LunLogin
  readonly #stop: () => void
  readonly #sent = new Set<Sent>()
  #connection: Connection | undefined
  #unit: Unit | undefined
  #isStale = false
  #failure: FleetError | undefined
  #heardMs = 0
  /** How often a connection was lost, and how often in a row without an answer between. */
  #losses = 0
  #idleLosses = 0

  /** @param stop throws when the work is to end */
  constructor(login: LunLogin, stop: () => void) {
    this.#login = login
    this.#stop = stop
  }

  get unit(): Unit {
    this.#unit ??= this.#connect(FIRST_PAUSES_MS)
    return this.#unit
  }

  /** Whether what was sent before may never have come where it is kept. */
  get wasLost(): boolean {
    return this.#losses > 0
  }

  /** @throws FleetError unavailable, refused, not_found; conflict when the LUN is not the one it was */
  send(command: Command): Pending {
    void this.unit
    const sent: Sent = { command, end: undefined, shortBytes: 0, again: 0 }
    if (this.#sent.size === 0) this.#heardMs = performance.now()
    this.#sent.add(sent)
    this.#give(sent)
    return sent
  }

  /** @throws as `send`; whatever the target says of any command on its way */
  wait(pending: Pending): Exclude<Pending['end'], undefined> {
    while (pending.end === undefined) this.#step()
    return pending.end
  }

  ask(command: Command): Exclude<Pending['end'], undefined> {
    return this.wait(this.send(command))
  }

  [Symbol.dispose](): void {
    this.#connection?.close()
    this.#connection = undefined
  }

  #step(): void {
    if (this.#connection === undefined || this.#isStale) {
      this.#reconnect()
      return
    }
    try {
      this.#connection.step()
      if (performance.now() - this.#heardMs > STALL_MS) throw new ConnectionLost('no answer')
    } catch (error) {
      if (!(error instanceof ConnectionLost)) throw error
      this.#isStale = true
    }
    if (this.#failure !== undefined) throw this.#failure
  }

  #give(sent: Sent): void {
    try {
      this.#connection?.send(sent.command, (answer) => this.#take(sent, answer))
    } catch (error) {
      if (!(error instanceof ConnectionLost)) throw error
      this.#isStale = true
    }
  }

  #take(sent: Sent, answer: Answer): void {
    this.#heardMs = performance.now()
    const meaning = meaningOf(answer)
    if (meaning === 'again') {
      this.#again(sent)
      return
    }
    this.#idleLosses = 0
    this.#sent.delete(sent)
    sent.shortBytes = answer.shortBytes
    if (meaning instanceof FleetError) this.#failure ??= meaning
    else sent.end = meaning
  }

  #again(sent: Sent): void {
    sent.again += 1
    if (sent.again > MAX_AGAIN) this.#failure ??= new FleetError('unavailable', 'the LUN is busy all the time')
    else {
      if (sent.again > 1) sleep(AGAIN_PAUSE_MS)
      this.#give(sent)
    }
  }

  #reconnect(): void {
    this.#losses += 1
    this.#idleLosses += 1
    const known = this.#unit
    const unit = this.#connect(this.#login.pausesMs ?? PAUSES_MS)
    if (known !== undefined && !isSame(known, unit))
      throw new FleetError('conflict', 'another LUN is there now than was before')
    this.#unit = unit
    this.#heardMs = performance.now()
    for (const sent of this.#sent) this.#give(sent)
  }

  /** Tries all addresses, again and again. */
  #connect(pausesMs: readonly number[]): Unit {
    this.#connection?.[Symbol.dispose]()
    this.#connection = undefined
    this.#isStale = false
    let last: unknown
    if (this.#idleLosses > pausesMs.length) throw unreachable(last)
    for (const pauseMs of pausesMs) {
      this.#sleep(pauseMs)
      for (const address of this.#login.addresses) {
        try {
          return this.#open(address)
        } catch (error) {
          // A portal may know of no such target where another one does.
          const isNext = error instanceof ConnectionLost || (error instanceof FleetError && error.code === 'not_found')
          if (!isNext) throw error
          last = error instanceof ConnectionLost ? new ConnectionLost(`${address}: ${error.message}`) : error
        }
      }
    }
    throw unreachable(last)
  }

  /** @throws what the last address said */
  #open(address: string, mayMove = true): Unit {
    const connection = new Connection(this.#login, this.#stop)
    try {
      connection.open(address)
      const unit = lookAt(connection)
      const { sizeBytes } = this.#login
      if (unit.blocks * unit.blockBytes !== sizeBytes)
        throw new FleetError(
          'refused',
          `the LUN has ${unit.blocks * unit.blockBytes} bytes, not the ${sizeBytes} that it should have`,
        )
      this.#connection = connection
      return unit
    } catch (error) {
      connection[Symbol.dispose]()
      if (!(error instanceof Redirected)) throw error
      // No other was looked up and allowed.
      if (!mayMove || !this.#login.addresses.includes(error.address))
        throw new FleetError('refused', 'the target sends this host to an address that it was not told of', {
          detail: error.message,
        })
      return this.#open(error.address, false)
    }
  }

  #sleep(ms: number): void {
    for (let slept = 0; slept < ms; slept += SLEEP_MS) {
      this.#stop()
      sleep(SLEEP_MS)
    }
  }
}

function isSame(one: Unit, other: Unit): boolean {
  return one.blockBytes === other.blockBytes && one.names.join() === other.names.join()
}

function unreachable(last: unknown): FleetError {
  if (last instanceof FleetError) return last
  return new FleetError('unavailable', 'the target cannot be reached, or does not answer', {
    ...(last === undefined ? {} : { cause: last, detail: String(last) }),
  })
}
