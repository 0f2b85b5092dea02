import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { readKept, writeKept } from './kept-json.ts'
import { identify, isAlive, ProcessIdentity, signalProcess } from './process-identity.ts'

const Recorded = z.array(ProcessIdentity.extend({ name: z.string() }))
type Recorded = z.infer<typeof Recorded>

const SURVIVOR_TERM_MS = 5_000
const SURVIVOR_KILL_MS = 2_000
const SURVIVOR_POLL_MS = 50

/** The processes that stand on one state directory, kept in a file so that the next start can end what a crash left. */
export class ProcessRecord {
  readonly #path: string
  readonly #running = new Map<string, ProcessIdentity>()

  constructor(path: string) {
    this.#path = path
  }

  add(name: string, pid: number): void {
    const identity = identify(pid)
    if (!identity) return
    this.#running.set(name, identity)
    this.#write()
  }

  remove(name: string): void {
    if (this.#running.delete(name)) this.#write()
  }

  /** Ends what an earlier run left alive, by pid and only where the start time is the recorded one. @returns their names. */
  async endSurvivors(): Promise<readonly string[]> {
    const survivors = (readKept(this.#path, Recorded) ?? []).filter(isAlive)
    if (!(await endAll(survivors, 'SIGTERM', SURVIVOR_TERM_MS))) await endAll(survivors, 'SIGKILL', SURVIVOR_KILL_MS)
    this.#write()
    return survivors.map(({ name }) => name)
  }

  /** The last resort when stopping takes too long. */
  killAll(): void {
    for (const identity of this.#running.values()) signalProcess(identity, 'SIGKILL')
  }

  #write(): void {
    const recorded: Recorded = [...this.#running].map(([name, identity]) => ({ name, ...identity }))
    writeKept(this.#path, recorded)
  }
}

async function endAll(processes: Recorded, signal: NodeJS.Signals, waitMs: number): Promise<boolean> {
  const deadline = performance.now() + waitMs
  for (const identity of processes) signalProcess(identity, signal)
  while (processes.some(isAlive)) {
    if (performance.now() > deadline) return false
    await sleep(SURVIVOR_POLL_MS)
  }
  return true
}
