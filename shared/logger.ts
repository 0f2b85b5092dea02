import { pino } from 'pino'
import { redact } from './redact.ts'

export type Logger = pino.Logger

/** Lines wait for so many bytes or so long, and are written together. What waits when the process exits is written then. */
const BUFFER_BYTES = 4_096
const FLUSH_MS = 100

/**
 * JSON lines on standard output, one per fact: an event name and its ids, never a sentence, a body or a secret. What is named
 * like a secret is hidden all the same.
 * @param program what writes: `control-plane`, `agent`.
 */
export function createLogger(program: string, level: string): Logger {
  output ??= openOutput()
  return pino({ level, base: { process: program }, ...DISCRETION }, output)
}

type Output = ReturnType<typeof pino.destination>
let output: Output | undefined

function openOutput(): Output {
  const opened = pino.destination({ dest: 1, sync: true, minLength: BUFFER_BYTES, periodicFlush: FLUSH_MS })
  process.on('exit', () => opened.flushSync())
  return opened
}

/** Settings of every logger of ours. */
export const DISCRETION = {
  formatters: {
    // as: `redact` gives an object for an object
    log: (facts) => redact(facts) as Record<string, unknown>,
  },
  serializers: { err: describeError },
} as const satisfies pino.LoggerOptions

/**
 * What an error may say: its kind, message and stack, its causes' too. The rest stays behind: drivers of databases and HTTP
 * clients hang parameters, rows and headers on their errors.
 */
export function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return redact(error)
  const { type, message, stack } = pino.stdSerializers.err(error)
  const code = 'code' in error && typeof error.code === 'string' ? { code: error.code } : {}
  return { type, message, stack, ...code }
}
