import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import type { ProcessSpec } from '../../deploy/supervised-process.ts'

const STOP_GRACE_MS = 10_000
const END_NOW_MS = 2_000
const END_POLL_MS = 5
const NEVER = new Int32Array(new SharedArrayBuffer(4))

/** A process that a test starts, kills and starts again; it never comes back by itself. */
export class TestProcess {
  readonly spec: ProcessSpec
  #child: ChildProcess | undefined

  constructor(spec: ProcessSpec) {
    this.spec = spec
  }

  get pid(): number {
    const pid = this.#child?.pid
    if (pid === undefined) throw new Error(`${this.spec.name} does not run`)
    return pid
  }

  start(): void {
    const { command, args, environment, workingDirectory, logPath, user, openDirectory } = this.spec
    const log = openSync(logPath, 'a')
    const directory = openDirectory === undefined ? undefined : openSync(openDirectory, 'r')
    this.#child = spawn('/usr/bin/setpriv', ['--pdeathsig', 'KILL', '--', command, ...args], {
      cwd: workingDirectory,
      env: environment,
      detached: true,
      stdio: ['ignore', log, log, ...(directory === undefined ? [] : [directory])],
      ...user,
    })
    closeSync(log)
    if (directory !== undefined) closeSync(directory)
  }

  /** SIGKILL, SIGSTOP, …; for deadly ones resolves when it is gone. */
  async signal(name: NodeJS.Signals): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill(name)
    if (name !== 'SIGSTOP' && name !== 'SIGCONT') await gone
  }

  /** Those who start it may end before it does. */
  unref(): void {
    this.#child?.unref()
  }

  /** Ends it by `signal` in one go, as the last thing that this process does: SIGKILL when it takes long. */
  endNow(signal: NodeJS.Signals): void {
    const child = this.#child
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
    child.kill(signal)
    const deadline = performance.now() + END_NOW_MS
    while (isRunning(child.pid) && performance.now() < deadline) Atomics.wait(NEVER, 0, 0, END_POLL_MS)
    if (isRunning(child.pid)) child.kill('SIGKILL')
  }

  /** Its stop signal, then SIGKILL. */
  async stop(): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const killer = setTimeout(() => child.kill('SIGKILL'), STOP_GRACE_MS)
    await this.signal('SIGCONT')
    await this.signal(this.spec.stopSignal)
    clearTimeout(killer)
  }

  log(): string {
    return existsSync(this.spec.logPath) ? readFileSync(this.spec.logPath, 'utf8') : ''
  }
}

/** proc(5): Z is one that has ended and that nobody has asked about. */
function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}
