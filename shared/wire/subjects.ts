/**
 * Every NATS subject of the fleet is built and parsed here. `<host>` is a HostName, so a single token.
 */
const ROOT = 'fleet.v1'

export const READ_OPERATIONS = ['ping', 'inventory'] as const
export type ReadOperation = (typeof READ_OPERATIONS)[number]

export const subjects = {
  allWork: `${ROOT}.work.*`,
  work: (host: string) => `${ROOT}.work.${host}`,
  allEvents: `${ROOT}.event.*`,
  event: (host: string) => `${ROOT}.event.${host}`,
  /** Control plane → agent, request/reply: a hint; truth is `job.state = cancelling`. */
  cancel: (host: string) => `${ROOT}.cancel.${host}`,
  /** Control plane → agent, publish: terminal reports that are now in Postgres. */
  confirm: (host: string) => `${ROOT}.confirm.${host}`,
  read: (host: string, operation: ReadOperation) => `${ROOT}.read.${host}.${operation}`,
  hostReads: (host: string) => `${ROOT}.read.${host}.*`,
  allBeats: `${ROOT}.beat.*`,
  beat: (host: string) => `${ROOT}.beat.${host}`,
  /** Agent → control plane, request/reply: I am here, this is my inventory. */
  allHellos: `${ROOT}.hello.*`,
  hello: (host: string) => `${ROOT}.hello.${host}`,
  /** Agent → control plane, request/reply: may I still start this late order? */
  allAsks: `${ROOT}.ask.*`,
  ask: (host: string) => `${ROOT}.ask.${host}`,
} as const

/** The host token of a beat, hello, ask, work or event subject. */
export function hostOfSubject(subject: string): string {
  return subject.split('.')[3] ?? ''
}

export function readOperationOf(subject: string): string {
  return subject.split('.')[4] ?? ''
}
