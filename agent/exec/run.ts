import assert from 'node:assert/strict'
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { basename, isAbsolute } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { FleetError } from '../../shared/errors.ts'

/** util-linux; ends the child when this process dies, whatever ends it. */
const SETPRIV = '/usr/bin/setpriv'
const DEFAULT_GRACE_MS = 2_000
const DEFAULT_OUTPUT_BYTES = 1_048_576

export interface RunOptions {
  readonly signal: AbortSignal
  readonly timeoutMs: number
  /** The directory it runs in, open in this process; without one, this process's own. */
  readonly directoryFd?: number
  /** Between SIGTERM and SIGKILL. */
  readonly graceMs?: number
  /** Kept of each of stdout and stderr; what is beyond is dropped. */
  readonly maxOutputBytes?: number
  /** Written to the child's stdin, for secrets that must not be an argument. */
  readonly input?: string | Buffer
  /** Takes stdout as it comes, and none of it is kept. What it throws ends the child and is thrown. */
  readonly onOutput?: (chunk: Buffer) => void
  /** Stdout itself, open for writing, and none of it comes here: what a tool has much of costs this process nothing. */
  readonly outputFd?: number
  /** Takes stdout at its own pace, and none of it is kept; it ends with it. What it fails of ends the child and is thrown. */
  readonly output?: Writable
}

export interface RunResult {
  /** Null when a signal ended it. */
  readonly exitCode: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export type Run = (file: string, args: readonly string[], options: RunOptions) => Promise<RunResult>

/**
 * The one door to a child process: absolute path, argument array, no shell, `LC_ALL=C`, `TZ=UTC`, a process group of its own.
 * An abort or the timeout ends the whole group, and this settles only once the child is gone. Any exit code is a result.
 * @throws FleetError `cancelled`; `internal` when it took longer than `timeoutMs` or cannot be started
 */
export const run: Run = (file, args, options) => {
  assert(isAbsolute(file), `${file} must be an absolute path`)
  if (options.signal.aborted) return Promise.reject(new FleetError('cancelled', 'cancelled'))
  return new Promise((resolve, reject) => {
    // as: pipes but for stdout, which is null where it goes elsewhere
    const child = spawn(SETPRIV, ['--pdeathsig', 'KILL', '--', file, ...args], {
      detached: true,
      env: { LC_ALL: 'C', TZ: 'UTC', PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
      stdio: ['pipe', options.outputFd ?? 'pipe', 'pipe'],
      // The child's own: it has all descriptors until it becomes the program.
      ...(options.directoryFd === undefined ? {} : { cwd: `/proc/self/fd/${options.directoryFd}` }),
    }) as ChildProcessByStdio<Writable, Readable | null, Readable>
    const stdout = child.stdout === null ? () => '' : takeOutput(child.stdout, options, (thrown) => end(thrown))
    const stderr = capture(child.stderr, options.maxOutputBytes ?? DEFAULT_OUTPUT_BYTES)
    child.stdin.on('error', () => undefined) // EPIPE of a child that does not read; its exit code tells
    child.stdin.end(options.input)

    let ended: { readonly reason: unknown } | undefined
    let killTimer: NodeJS.Timeout | undefined
    const end = (reason: unknown) => {
      if (ended !== undefined) return
      ended = { reason }
      signalGroup(child.pid, 'SIGTERM')
      killTimer = setTimeout(() => signalGroup(child.pid, 'SIGKILL'), options.graceMs ?? DEFAULT_GRACE_MS)
    }
    const onAbort = () => end(new FleetError('cancelled', 'cancelled'))
    const timeout = setTimeout(() => {
      end(new FleetError('internal', `${basename(file)} took longer than ${options.timeoutMs} ms`))
    }, options.timeoutMs)
    options.signal.addEventListener('abort', onAbort, { once: true })

    const settle = (finish: () => void) => {
      clearTimeout(timeout)
      clearTimeout(killTimer)
      options.signal.removeEventListener('abort', onAbort)
      finish()
    }
    child.once('error', (cause) =>
      settle(() => reject(new FleetError('internal', `${basename(file)} cannot be started`, { cause }))),
    )
    // 'close' comes after every holder of the pipes is gone, grandchildren included.
    child.once('close', (exitCode, signal) =>
      settle(() => {
        if (ended === undefined) return resolve({ exitCode, signal, stdout: stdout(), stderr: stderr() })
        signalGroup(child.pid, 'SIGKILL') // a grandchild that gave its pipes away
        reject(ended.reason)
      }),
    )
  })
}

function takeOutput(stdout: Readable, options: RunOptions, fail: (thrown: unknown) => void): () => string {
  if (options.output !== undefined) {
    options.output.once('error', fail)
    options.output.once('close', () => stdout.resume()) // a child that writes on must not wait for ever
    stdout.pipe(options.output)
    return () => ''
  }
  if (options.onOutput !== undefined) return hand(stdout, options.onOutput, fail)
  return capture(stdout, options.maxOutputBytes ?? DEFAULT_OUTPUT_BYTES)
}

/** @returns reads what was captured so far, at most `maxBytes` of it */
function capture(stream: NodeJS.ReadableStream, maxBytes: number): () => string {
  const chunks: Buffer[] = []
  let keptBytes = 0
  stream.on('data', (chunk: Buffer) => {
    const kept = chunk.subarray(0, maxBytes - keptBytes)
    keptBytes += kept.length
    if (kept.length > 0) chunks.push(kept)
  })
  return () => Buffer.concat(chunks).toString()
}

/** Hands on what comes until that throws; what is left is read and dropped. */
function hand(stream: NodeJS.ReadableStream, take: (chunk: Buffer) => void, fail: (thrown: unknown) => void) {
  let failed = false
  stream.on('data', (chunk: Buffer) => {
    if (failed) return
    try {
      take(chunk)
    } catch (thrown) {
      failed = true
      fail(thrown)
    }
  })
  return () => ''
}

function signalGroup(groupId: number | undefined, signal: NodeJS.Signals): void {
  if (groupId === undefined) return
  try {
    process.kill(-groupId, signal)
  } catch {
    // ESRCH: the whole group is gone, which is what was wanted
  }
}
