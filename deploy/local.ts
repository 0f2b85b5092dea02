import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ConfigError, readConfig } from '../shared/config.ts'
import { startLocalFleet } from './local-fleet.ts'
import { ProcessRecord } from './process-record.ts'
import { LocalSettings } from './settings.ts'
import { StartError } from './start-error.ts'
import { openStateDirectory } from './state-directory.ts'
import { StateLock } from './state-lock.ts'

/** What `npm start` runs: the whole of Holdfast on this machine, until a signal. */

/** A stop that takes longer kills what is left: together with the exit it stays below 10 s. */
const STOP_DEADLINE_MS = 9_000
const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

const say = (line: string) => console.log(line)

/** Aborted by a signal, or when the bootstrap (whose end of the channel closes) is killed. */
function stopRequest(): AbortController {
  const stop = new AbortController()
  for (const signal of STOP_SIGNALS) process.on(signal, () => stop.abort())
  process.once('disconnect', () => stop.abort())
  return stop
}

function untilAborted(signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<void>()
  if (signal.aborted) aborted.resolve()
  signal.addEventListener('abort', () => aborted.resolve(), { once: true })
  return aborted.promise
}

function killWhenLate(record: ProcessRecord): void {
  setTimeout(() => {
    say('stopping takes too long: killing what is left')
    record.killAll()
    process.exit(1)
  }, STOP_DEADLINE_MS).unref()
}

async function run(stop: AbortController): Promise<void> {
  const settings = readConfig(LocalSettings, process.env)
  const state = openStateDirectory(settings.HOLDFAST_STATE)
  using _lock = StateLock.take(state.lock)
  const record = new ProcessRecord(state.processes)
  await using stack = new AsyncDisposableStack()
  stop.signal.addEventListener('abort', () => killWhenLate(record))
  const root = dirname(dirname(fileURLToPath(import.meta.url)))
  const sim = process.argv.includes('--sim')
  try {
    await startLocalFleet({ settings, state, root, record, sim, say, signal: stop.signal, stack })
    await untilAborted(stop.signal)
    say('stopping')
  } finally {
    // Also when the start failed: what has begun must end in time.
    stop.abort()
  }
}

function messageOf(error: unknown): string {
  if (error instanceof StartError || error instanceof ConfigError) return error.message
  if (error instanceof Error) return error.stack ?? error.message
  return String(error)
}

const stop = stopRequest()
try {
  await run(stop)
  process.exit(0)
} catch (error) {
  // A signal while starting is a wish, not a failure.
  if (error instanceof Error && error.name === 'AbortError') process.exit(0)
  console.error(`holdfast: ${messageOf(error)}`)
  process.exit(1)
}
