/**
 * Every NATS subject of the fleet is built and parsed here. `<host>` is a HostName, so a single token.
 */
const ROOT = 'fleet.v1'

export const READ_OPERATIONS = [
  'ping',
  'inventory',
  'point-files',
  'point-diff',
  'target-ping',
  'target-list',
  'target-host-key',
  'instances',
  'instance-parts',
  'volumes',
  'exports',
] as const
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
  /** Agent → control plane, request/reply: this is the key I use; may I have a credential for another one? */
  allCredentials: `${ROOT}.credential.*.*`,
  credential: (host: string, publicKey: string) => `${ROOT}.credential.${host}.${publicKey}`,
  /** Control plane → agent, request/reply: take a new key now. */
  rotate: (host: string) => `${ROOT}.rotate.${host}`,
} as const

/** The host token of every subject that has one. */
export function hostOfSubject(subject: string): string {
  return subject.split('.')[3] ?? ''
}

export function readOperationOf(subject: string): string {
  return subject.split('.')[4] ?? ''
}

/** The public key that a credential subject is about. */
export function keyOfSubject(subject: string): string {
  return subject.split('.')[4] ?? ''
}
