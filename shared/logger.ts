import { pino } from 'pino'

export type Logger = pino.Logger

/**
 * One JSON line per fact on standard output: an event name and its ids, never a sentence, a body or a secret.
 * @param process what writes: `control-plane`, `agent`.
 */
export function createLogger(process: string, level: string): Logger {
  return pino({ name: process, level, base: { process } })
}
