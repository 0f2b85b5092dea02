import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { type OutlivingProcess, spawnOutliving } from '../exec/outlive.ts'
import { type ThawOrder, thawOnce } from './thaw-order.ts'

const PROGRAM = fileURLToPath(new URL('./watchdog-process.ts', import.meta.url))
const NODE_FLAGS = [
  '--max-semi-space-size=1',
  '--max-old-space-size=64',
  '--no-maglev',
  '--disable-warning=ExperimentalWarning',
]
const ARM_TIMEOUT_MS = 15_000
/** An expired watchdog repeats its thaw for a while; no other freeze may begin before it has ended. */
const END_TIMEOUT_MS = 5_000
/** Of the watchdogs of an agent that died: how long they may still thaw (see watchdog-process.ts). */
const SETTLE_MS = 3_000
const POLL_MS = 50
const LEFT_TRIES = 10
const LEFT_RETRY_MS = 1_000

const Note: z.ZodType<ThawOrder> = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('lxc'), folder: z.string().startsWith('/'), name: z.string() }),
  z.object({ kind: z.literal('engine'), socketPath: z.string().startsWith('/'), container: z.string() }),
  z.object({ kind: z.literal('libvirt'), uri: z.string(), domain: z.uuid(), guest: z.boolean() }),
])

/** A process that thaws one instance unless it is released in time. */
export interface Watchdog {
  /** Resolves when it begins to thaw, or dies; never when it was released before. */
  readonly expired: Promise<void>
  /** To be called once the instance runs again. @returns false when it had begun to thaw, or died */
  release(): Promise<boolean>
}

/** Notes in `folder` tell the next agent what an agent that died had frozen, should its watchdog have died with it. */
export interface Watchdogs {
  /** @throws unavailable when no watchdog can be set */
  arm(thaw: ThawOrder, maxMs: number): Promise<Watchdog>
}

/** @param folder the agent's own; made if it is not there */
export function createWatchdogs(folder: string): Watchdogs {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  return {
    async arm(thaw, maxMs) {
      const note = join(folder, `${randomUUID()}.json`)
      writeFileSync(`${note}.new`, JSON.stringify(thaw), { mode: 0o600 })
      renameSync(`${note}.new`, note)
      const order = JSON.stringify({ thaw, maxMs, note })
      const child = spawnOutliving(process.execPath, [...NODE_FLAGS, PROGRAM, order])
      child.stdin.on('error', () => undefined) // its exit code tells
      const said = listen(child)
      const armed = await Promise.race([said.armed, pause(ARM_TIMEOUT_MS, false, { ref: false })])
      if (armed) return watchdogOf(child, said.expired, note)
      child.kill('SIGKILL')
      rmSync(note, { force: true })
      throw new FleetError('unavailable', 'no watchdog could be set, so nothing was frozen')
    },
  }
}

interface Said {
  readonly armed: Promise<boolean>
  readonly expired: Promise<void>
}

function listen(child: OutlivingProcess): Said {
  const armed = Promise.withResolvers<boolean>()
  const expired = Promise.withResolvers<void>()
  let text = ''
  child.stdout.on('data', (chunk: Buffer) => {
    text = (text + chunk.toString('latin1')).slice(-64)
    if (text.includes('armed')) armed.resolve(true)
    if (text.includes('expired')) expired.resolve()
  })
  const gone = () => {
    armed.resolve(false)
    expired.resolve()
  }
  child.once('error', gone)
  child.once('exit', gone)
  return { armed: armed.promise, expired: expired.promise }
}

function watchdogOf(child: OutlivingProcess, expired: Promise<void>, note: string): Watchdog {
  let released: Promise<boolean> | undefined
  const ended = child.exitCode !== null || child.signalCode !== null ? Promise.resolve() : once(child, 'exit')
  const release = async () => {
    child.stdin.end('released')
    await Promise.race([ended, pause(END_TIMEOUT_MS, undefined, { ref: false })])
    if (child.exitCode === null) child.kill('SIGKILL')
    rmSync(note, { force: true })
    return child.exitCode === 0
  }
  return {
    expired,
    release() {
      released ??= release()
      return released
    },
  }
}

/**
 * Thaws what an agent that died left frozen. To be called when an agent starts, before it takes any order.
 * @returns how many instances could not be thawed; they are tried again at the next start
 */
export async function thawLeft(folder: string): Promise<number> {
  // Of one that died while it wrote its note, before it had frozen anything.
  for (const name of readdirSync(folder)) if (name.endsWith('.json.new')) rmSync(join(folder, name), { force: true })
  const until = performance.now() + SETTLE_MS
  while (notesIn(folder).length > 0 && performance.now() < until) await pause(POLL_MS)
  const left = await Promise.all(notesIn(folder).map((name) => thawNote(join(folder, name))))
  return left.filter((done) => !done).length
}

function notesIn(folder: string): readonly string[] {
  return readdirSync(folder).filter((name) => name.endsWith('.json'))
}

async function thawNote(note: string): Promise<boolean> {
  const order = readNote(note)
  for (let tries = 0; order !== undefined && !(await thawOnce(order)); tries++) {
    if (tries === LEFT_TRIES) return false
    await pause(LEFT_RETRY_MS)
  }
  rmSync(note, { force: true })
  return true
}

/** @returns undefined for what is no note of ours, or is gone by now */
function readNote(note: string): ThawOrder | undefined {
  try {
    return Note.parse(JSON.parse(readFileSync(note, 'utf8')))
  } catch {
    return undefined
  }
}
