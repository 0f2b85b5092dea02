import { WORK_STREAM, workConsumer } from './streams.ts'
import { subjects } from './subjects.ts'

export interface Permissions {
  readonly publish: readonly string[]
  readonly subscribe: readonly string[]
}

/** What the server's answers to one agent are addressed below; nobody else may listen there. */
export function inboxPrefix(host: string): string {
  return `_INBOX_${host}`
}

/**
 * All that an agent may say and hear: its own subjects, its own durable consumer, its own inbox; beside these only replies to
 * what it is asked. With a key, it may also speak for that key and no other: so a message there proves which one is in use.
 */
export function agentPermissions(host: string, publicKey?: string): Permissions {
  const durable = `${WORK_STREAM}.${workConsumer(host)}`
  return {
    publish: [
      subjects.event(host),
      subjects.beat(host),
      subjects.hello(host),
      subjects.ask(host),
      `$JS.API.CONSUMER.INFO.${durable}`,
      `$JS.API.CONSUMER.MSG.NEXT.${durable}`,
      `$JS.ACK.${durable}.>`,
      ...(publicKey === undefined ? [] : [subjects.credential(host, publicKey)]),
    ],
    subscribe: [
      subjects.cancel(host),
      subjects.confirm(host),
      subjects.hostReads(host),
      subjects.rotate(host),
      `${inboxPrefix(host)}.>`,
    ],
  }
}
