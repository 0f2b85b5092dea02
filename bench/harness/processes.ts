import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { findTool } from '../../deploy/tools.ts'

const STOP_TIMEOUT_MS = 8_000
const READY_TIMEOUT_MS = 60_000
const READY_POLL_MS = 20
const REQUEST_TIMEOUT_MS = 600_000
const LOG_TAIL_CHARACTERS = 2_000
/** sysconf(_SC_CLK_TCK); 100 on every Linux that Node runs on. */
/** proc(5) */
const CLEAR_PEAK = '5'
const TICKS_PER_SECOND = 100

export interface ProcessSpec {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  /** Where its log goes. */
  readonly folder: string
  readonly environment?: Readonly<Record<string, string>>
  /** An account other than ours, which needs root. */
  readonly account?: string | undefined
  readonly stopSignal?: NodeJS.Signals
}

/** A child that ends with us, even when we are killed. */
export class BenchProcess implements AsyncDisposable {
  readonly pid: number
  readonly #spec: ProcessSpec
  readonly #child: ChildProcess
  readonly #ended: Promise<unknown>

  constructor(spec: ProcessSpec) {
    this.#spec = spec
    const log = openSync(this.#logPath, 'a')
    const account = spec.account ? [`--reuid=${spec.account}`, `--regid=${spec.account}`, '--init-groups'] : []
    this.#child = spawn(setpriv(), [...account, '--pdeathsig', 'INT', '--', spec.command, ...spec.args], {
      cwd: '/',
      env: { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC', ...spec.environment },
      stdio: ['ignore', log, log, 'ipc'],
    })
    closeSync(log)
    // setpriv becomes the program, so this is the program's own id.
    if (this.#child.pid === undefined) throw new Error(`${spec.name} could not be started`)
    this.pid = this.#child.pid
    this.#ended = once(this.#child, 'exit')
    this.#child.on('error', () => undefined)
  }

  get #logPath(): string {
    return join(this.#spec.folder, `${this.#spec.name}.log`)
  }

  /** @throws with the end of its log when it has ended. */
  check(): void {
    if (this.#child.exitCode === null && this.#child.signalCode === null) return
    throw new Error(`${this.#spec.name} ended:\n${readFileSync(this.#logPath, 'utf8').slice(-LOG_TAIL_CHARACTERS)}`)
  }

  /** Polls until `answers` resolves to true. */
  async until(answers: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + READY_TIMEOUT_MS
    while (!(await answers().catch(() => false))) {
      this.check()
      if (performance.now() > deadline) throw new Error(`${this.#spec.name} does not answer`)
      await sleep(READY_POLL_MS)
    }
  }

  /** Its next message; programs of the bench say `ready` first and then answer one request at a time. */
  async hear(): Promise<unknown> {
    const listening = new AbortController()
    const signal = AbortSignal.any([listening.signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)])
    try {
      const message = once(this.#child, 'message', { signal }).then(([value]: unknown[]) => value)
      const ended = this.#ended.then(() => this.check())
      return await Promise.race([message, ended])
    } finally {
      listening.abort()
    }
  }

  ask(request: object): Promise<unknown> {
    this.tell(request)
    return this.hear()
  }

  tell(request: object): void {
    this.check()
    this.#child.send(request)
  }

  /** Seconds of processor time it has used, all its threads together. */
  cpuSeconds(): number {
    return cpuSecondsOf(this.pid)
  }

  /** The same with its children. */
  treeCpuSeconds(): number {
    const children = readFileSync(`/proc/${this.pid}/task/${this.pid}/children`, 'utf8').split(' ').filter(Boolean)
    return children.reduce((sum, pid) => sum + cpuSecondsOf(Number(pid)), this.cpuSeconds())
  }

  rssMebibytes(): number {
    return this.#mebibytes('VmRSS')
  }

  /** The most it ever had, or since that was forgotten. */
  peakMebibytes(): number {
    return this.#mebibytes('VmHWM')
  }

  /** From here on the most is what it has from now on. */
  forgetPeak(): void {
    writeFileSync(`/proc/${this.pid}/clear_refs`, CLEAR_PEAK)
  }

  #mebibytes(field: string): number {
    const kibibytes = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))
    return Number(kibibytes?.[1]) / 1024
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const cut = setTimeout(() => this.#child.kill('SIGKILL'), STOP_TIMEOUT_MS)
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill(this.#spec.stopSignal ?? 'SIGTERM')
      await this.#ended
    }
    clearTimeout(cut)
  }
}

/** 0 for one that has ended. */
function cpuSecondsOf(pid: number): number {
  try {
    // proc(5): the fields after the name, which may hold blanks and parentheses; utime and stime are the 14th and 15th of all.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
  } catch {
    return 0
  }
}

export function setpriv(): string {
  return requireTool('setpriv')
}

export function requireTool(name: string): string {
  const path = findTool(name)
  if (path === undefined) throw new Error(`${name} is not installed`)
  return path
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('the system gave no port')
  return address.port
}
