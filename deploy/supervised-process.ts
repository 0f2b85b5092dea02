import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { boundLog, openLog } from './log-file.ts'

export interface ProcessSpec {
  readonly name: string
  /** An absolute path. */
  readonly command: string
  readonly args: readonly string[]
  readonly environment: Readonly<NodeJS.ProcessEnv>
  readonly workingDirectory: string
  /** Where its standard output and error go. */
  readonly logPath: string
  /** What asks it to end in good order; it also gets this when we are killed outright, where `deathSignalTool` is known. */
  readonly stopSignal: 'SIGTERM' | 'SIGINT'
  /** How long it may take to end before it is killed. */
  readonly stopTimeoutMs: number
  /** Who it runs as; absent: as we do. */
  readonly user?: { readonly uid: number; readonly gid: number }
  /** A directory it gets open as file descriptor 3. */
  readonly openDirectory?: string
}

export interface SupervisorDeps {
  /** Path of `setpriv` (util-linux), which ties a child's life to ours; absent where there is none. */
  readonly deathSignalTool: string | undefined
  /** Told of every process that begins or ends. */
  readonly onSpawn: (name: string, pid: number) => void
  readonly onExit: (name: string, ending: Ending) => void
  readonly backoff?: Backoff
}

export interface Ending {
  /** Such as `exit code 1`, `signal SIGKILL`. */
  readonly reason: string
  /** When it will be started again; undefined when it was asked to end. */
  readonly restartInMs: number | undefined
}

export interface Backoff {
  readonly firstMs: number
  readonly maxMs: number
  /** A process that lived this long starts from `firstMs` again. */
  readonly stableMs: number
}

export const DEFAULT_BACKOFF: Backoff = { firstMs: 200, maxMs: 10_000, stableMs: 30_000 }
const LOG_CHECK_MS = 60_000
const KILL_WAIT_MS = 500

/** The wait before restart number `failures` (1 for the first). */
export function restartDelayMs(failures: number, { firstMs, maxMs }: Backoff): number {
  return Math.min(maxMs, firstMs * 2 ** (failures - 1))
}

/**
 * Keeps one process running until it is stopped.
 *
 *   running ──exit──▶ waiting ──backoff over──▶ running
 *   running | waiting ──stop──▶ stopped (its stop signal, then SIGKILL to its process group)
 */
export class SupervisedProcess implements AsyncDisposable {
  readonly spec: ProcessSpec
  readonly #deps: SupervisorDeps
  readonly #backoff: Backoff
  readonly #logCheck: NodeJS.Timeout
  #child: ChildProcess | undefined
  #exited: Promise<void> = Promise.resolve()
  #restart: NodeJS.Timeout | undefined
  #stopping = false
  #failures = 0

  constructor(spec: ProcessSpec, deps: SupervisorDeps) {
    this.spec = spec
    this.#deps = deps
    this.#backoff = deps.backoff ?? DEFAULT_BACKOFF
    this.#logCheck = setInterval(() => boundLog(spec.logPath), LOG_CHECK_MS).unref()
    this.#spawn()
  }

  /** Ends without being asked, in a row: what lives for `stableMs` is forgiven. */
  get failures(): number {
    return this.#failures
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  async stop(): Promise<void> {
    this.#stopping = true
    clearTimeout(this.#restart)
    clearInterval(this.#logCheck)
    const child = this.#child
    if (!child) return
    child.kill(this.spec.stopSignal)
    if (await this.#endsWithin(this.spec.stopTimeoutMs)) return
    killGroup(child)
    await this.#endsWithin(KILL_WAIT_MS)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  #spawn(): void {
    const { name } = this.spec
    const startedAt = performance.now()
    const child = spawnChild(this.spec, this.#deps.deathSignalTool)
    this.#child = child
    if (child.pid !== undefined) this.#deps.onSpawn(name, child.pid)
    this.#exited = new Promise((resolve) => {
      const ended = (reason: string) => {
        if (this.#child !== child) return
        this.#child = undefined
        this.#onEnd(reason, performance.now() - startedAt)
        resolve()
      }
      child.once('error', (error) => ended(error.message))
      child.once('exit', (code, signal) => ended(signal ? `signal ${signal}` : `exit code ${code}`))
    })
  }

  #onEnd(reason: string, livedMs: number): void {
    this.#failures = livedMs >= this.#backoff.stableMs ? 1 : this.#failures + 1
    const restartInMs = this.#stopping ? undefined : restartDelayMs(this.#failures, this.#backoff)
    if (restartInMs !== undefined) this.#restart = setTimeout(() => this.#spawn(), restartInMs)
    this.#deps.onExit(this.spec.name, { reason, restartInMs })
  }

  async #endsWithin(waitMs: number): Promise<boolean> {
    const late = Promise.withResolvers<false>()
    const timer = setTimeout(() => late.resolve(false), waitMs)
    const ended = await Promise.race([this.#exited.then(() => true), late.promise])
    clearTimeout(timer)
    return ended
  }
}

/** Each child leads its own session: Ctrl-C reaches only us, and we choose the order in which they end. */
function spawnChild(spec: ProcessSpec, deathSignalTool: string | undefined): ChildProcess {
  const tied = deathSignalTool ? [deathSignalTool, '--pdeathsig', spec.stopSignal.slice('SIG'.length), '--'] : []
  const [command = spec.command, ...args] = [...tied, spec.command, ...spec.args]
  const log = openLog(spec.logPath)
  const directory = spec.openDirectory === undefined ? undefined : openSync(spec.openDirectory, 'r')
  try {
    return spawn(command, args, {
      cwd: spec.workingDirectory,
      env: spec.environment,
      detached: true,
      stdio: ['ignore', log, log, ...(directory === undefined ? [] : [directory])],
      ...spec.user,
    })
  } finally {
    closeSync(log)
    if (directory !== undefined) closeSync(directory)
  }
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    // The group is gone already: nothing is left to kill.
  }
}
