/** JetStream names. Streams carry, they do not remember: both can be lost and are made again from what Postgres owes. */
export const WORK_STREAM = 'WORK'
export const EVENT_STREAM = 'EVENTS'
/** The one durable consumer of EVENTS; every control-plane replica pulls from it. */
export const INGEST_CONSUMER = 'ingest'

/** The durable consumer of WORK that one agent pulls from. */
export function workConsumer(host: string): string {
  return `agent-${host}`
}

/** How long JetStream remembers message ids; a repeat inside it is dropped. */
export const DUPLICATE_WINDOW_MS = 120_000
/** An agent that has not said `working` for this long loses its delivery to the next pull. */
export const WORK_ACK_WAIT_MS = 15_000
export const WORK_EXTEND_EVERY_MS = 5_000
export const EVENT_ACK_WAIT_MS = 10_000
