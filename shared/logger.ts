import { pino } from 'pino'

export type Logger = pino.Logger

/** Lines wait for so many bytes or so long, and are written together. What waits when the process exits is written then. */
const BUFFER_BYTES = 4_096
const FLUSH_MS = 100

/**
 * JSON lines on standard output, one per fact: an event name and its ids, never a sentence, a body or a secret.
 * @param program what writes: `control-plane`, `agent`.
 */
export function createLogger(program: string, level: string): Logger {
  const output = pino.destination({ dest: 1, sync: true, minLength: BUFFER_BYTES, periodicFlush: FLUSH_MS })
  process.on('exit', () => output.flushSync())
  return pino({ level, base: { process: program } }, output)
}
