import { FleetError } from '../../shared/errors.ts'
import { type Meaning, meaningOf } from './answers.ts'
import {
  type Capacity,
  type Command,
  inquiry,
  PAGES,
  parseCapacity,
  parseIdentity,
  parseLimits,
  parseProvisioning,
  readCapacity,
  testUnitReady,
} from './commands.ts'
import { type Connection, ConnectionLost } from './connection.ts'

/** What is known of a LUN. */
export interface Unit extends Capacity {
  readonly names: readonly string[]
  /** That one command may read or write. */
  readonly transferBytes: number
  /** Blocks that are given back by one command; 0 where they cannot be. */
  readonly unmapBlocks: number
}

/** Of one answer. */
const ANSWER_MS = 30_000
const MAX_TRIES = 20
const TRY_PAUSE_MS = 100
const PAGE_BYTES = 1_024
const DISK = 0
const MAX_BLOCK_BYTES = 4_096
/** Where a target tells no limit. */
const MOST_TRANSFER_BYTES = 2 ** 22
const MOST_UNMAP_BYTES = 2 ** 27

const pause = new Int32Array(new SharedArrayBuffer(4))

/** Sleeps. */
export function sleep(ms: number): void {
  Atomics.wait(pause, 0, 0, ms)
}

/** What a LUN is like, when it is ready. @throws ConnectionLost; not_found, refused, unavailable */
export function lookAt(connection: Connection): Unit {
  requireGood(ask(connection, testUnitReady()))
  const capacity = readCapacity()
  requireGood(ask(connection, capacity))
  const told = parseCapacity(capacity.data)
  const { blockBytes, isThin } = told
  if ((kindOf(connection) ?? DISK) !== DISK) throw new FleetError('not_found', 'there is no disk at this number')
  if (blockBytes < 512 || blockBytes > MAX_BLOCK_BYTES || Math.log2(blockBytes) % 1 !== 0)
    throw new FleetError('refused', `the LUN has blocks of ${blockBytes} bytes, which is not supported`)
  const identity = pageOf(connection, PAGES.identity)
  const limits = pageOf(connection, PAGES.limits)
  const { transfer, same } = limits === undefined ? NO_LIMITS : parseLimits(limits)
  const provisioning = isThin ? pageOf(connection, PAGES.provisioning) : undefined
  const unmaps = provisioning !== undefined && parseProvisioning(provisioning)
  return {
    ...told,
    names: identity === undefined ? [] : parseIdentity(identity),
    transferBytes: Math.max(blockBytes, Math.min(transfer * blockBytes, MOST_TRANSFER_BYTES)),
    unmapBlocks: unmaps ? Math.min(same, MOST_UNMAP_BYTES / blockBytes) : 0,
  }
}

const NO_LIMITS = { transfer: Number.POSITIVE_INFINITY, same: Number.POSITIVE_INFINITY }

function kindOf(connection: Connection): number | undefined {
  const command = inquiry(undefined, 36)
  return ask(connection, command) === 'good' ? command.data[0] : undefined
}

/** @returns undefined where the target has no such page */
function pageOf(connection: Connection, page: number): Buffer | undefined {
  const command = inquiry(page, PAGE_BYTES)
  const meaning = ask(connection, command)
  if (meaning === 'unknown') return undefined
  requireGood(meaning)
  return command.data[1] === page ? command.data : undefined
}

function requireGood(meaning: Meaning): void {
  if (meaning === 'good') return
  if (meaning instanceof FleetError) throw meaning
  if (meaning === 'again') throw new FleetError('unavailable', 'the LUN does not become ready')
  throw new FleetError('unavailable', 'the target does not answer as a disk does')
}

/** One command by itself. @throws ConnectionLost */
function ask(connection: Connection, command: Command): Meaning {
  let meaning: Meaning = 'again'
  for (let tries = 0; meaning === 'again' && tries < MAX_TRIES; tries += 1) {
    if (tries > 1) sleep(TRY_PAUSE_MS)
    let heard: Meaning | undefined
    connection.send(command, (answer) => {
      heard = meaningOf(answer)
    })
    const untilMs = performance.now() + ANSWER_MS
    while (heard === undefined) {
      if (performance.now() > untilMs) throw new ConnectionLost('no answer')
      connection.step()
    }
    meaning = heard
  }
  return meaning
}
