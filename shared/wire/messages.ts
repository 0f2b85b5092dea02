import { createHash } from 'node:crypto'
import { z } from 'zod'
import { HostName, Id } from '../ids.ts'
import { JobReport } from '../job-event.ts'
import { JobSpec } from '../job-spec.ts'

/** Consumers ignore unknown fields and terminate messages of another version. */
export const WIRE_VERSION = 1
const v = z.literal(WIRE_VERSION)

/** One order to one agent. */
export const WorkOrder = z.object({
  jobId: Id,
  attempt: z.number().int().positive(),
  spec: JobSpec,
  /**
   * Milliseconds since the epoch by the control plane's clock. An agent that has not started by then must ask before it
   * does, because the client may have been told that nothing happened. Null: start whenever.
   */
  notAfter: z.number().nullable(),
  /** A TargetSecret as JSON, sealed for this agent (base64, context `order/<jobId>`), where the spec's target has one. */
  secret: z.string().optional(),
})
export type WorkOrder = z.infer<typeof WorkOrder>

/** Orders placed together for one host travel together; the message is acknowledged when all of them have ended. */
export const WorkMessage = z.object({ v, orders: z.array(WorkOrder).min(1) })
export type WorkMessage = z.infer<typeof WorkMessage>

/** Equal for equal messages only, so that JetStream drops a repeat and nothing else. */
export function workMessageId(host: string, orders: readonly Pick<WorkOrder, 'jobId' | 'attempt'>[]): string {
  return messageId(
    host,
    orders.map(({ jobId, attempt }) => `${jobId}:${attempt}`),
  )
}

function messageId(host: string, parts: readonly string[]): string {
  return parts.length === 1
    ? `${host}:${parts[0]}`
    : `${host}:${createHash('sha256').update(parts.join(',')).digest('base64url')}`
}

/** What an agent has to say at one time, about however many jobs. */
export const ReportMessage = z.object({ v, reports: z.array(JobReport).min(1) })
export type ReportMessage = z.infer<typeof ReportMessage>

export function reportMessageId(host: string, reports: readonly JobReport[]): string {
  return messageId(
    host,
    reports.map((told) => `${told.jobId}:${told.attempt}:${told.delivery}:${told.events.at(-1)?.seq}`),
  )
}

export const DriverName = z.enum(['btrfs', 'zfs', 'reflink', 'copy', 'sim'])
export type DriverName = z.infer<typeof DriverName>

/** What a pool's driver can truly do; shown to clients as it is. */
export const Capabilities = z.object({
  /** Snapshots and restores share blocks with their source. */
  cow: z.boolean(),
  /** A snapshot is one instant, even of a tree that is being written. */
  atomic: z.boolean(),
  /** The file system itself refuses writes to a read-only snapshot. */
  enforcesReadonly: z.boolean(),
})
export type Capabilities = z.infer<typeof Capabilities>

export const PoolInventory = z.object({
  name: HostName,
  driver: DriverName,
  capabilities: Capabilities,
  sizeBytes: z.number().nonnegative(),
  freeBytes: z.number().nonnegative(),
})
export type PoolInventory = z.infer<typeof PoolInventory>

export const Inventory = z.object({
  version: z.string(),
  slots: z.number().int().positive(),
  pools: z.array(PoolInventory),
  /** Host prefixes below which restores to outside a dataset are allowed. */
  restorePaths: z.array(z.string()),
  /** Host prefixes below which directories may be backed up. */
  sourcePaths: z.array(z.string()).default([]),
  /** Absolute; points without a target lie below it. Null: this agent keeps none. */
  backupRoot: z.string().nullable().default(null),
  /** The iSCSI name as whom it logs in to LUNs of other services; absent where it cannot. */
  initiator: z.string().max(223).optional(),
})
export type Inventory = z.infer<typeof Inventory>

/** Every BEAT_INTERVAL_MS. `hash` is of the inventory without its free bytes; `free` are those, in the inventory's order. */
export const Beat = z.object({
  v,
  hash: z.string(),
  free: z.array(z.number()),
  running: z.number().int().nonnegative(),
  /** Of what `instances` answers, where the agent serves any; null: they were not listed yet. */
  instances: z.object({ hash: z.string().max(64).nullable() }).optional(),
  /** `hashExports` of what its agent keeps, where that can export. */
  exports: z.object({ hash: z.string().max(64) }).optional(),
})
export type Beat = z.infer<typeof Beat>

export const Hello = z.object({ v, hash: z.string(), inventory: Inventory })
export type Hello = z.infer<typeof Hello>
export const Welcome = z.object({
  v,
  hostId: Id,
  slots: z.number().int().positive(),
  now: z.number(),
  /** `host:port` of what no target may be: the fleet's database, NATS and HTTP listeners. */
  ownListeners: z.array(z.string()).default([]),
})
export type Welcome = z.infer<typeof Welcome>

export const CancelHint = z.object({ v, jobId: Id, attempt: z.number().int().positive() })
export type CancelHint = z.infer<typeof CancelHint>

/** Jobs whose end is now in Postgres: their journal entries may age out. */
export const Confirmation = z.object({ v, jobs: z.array(Id) })
export type Confirmation = z.infer<typeof Confirmation>

export const StartQuestion = z.object({ v, jobId: Id, attempt: z.number().int().positive() })
export type StartQuestion = z.infer<typeof StartQuestion>
export const StartAnswer = z.object({ v, start: z.boolean() })
export type StartAnswer = z.infer<typeof StartAnswer>

export const MAX_ASKED_POINTS = 1_000
/** Asked by a host that keeps something for these points, which others may have deleted. */
export const PointsQuestion = z.object({ v, points: z.array(Id).max(MAX_ASKED_POINTS) })
export type PointsQuestion = z.infer<typeof PointsQuestion>
/** On the subject of a host's questions. */
export const HostQuestion = z.union([StartQuestion, PointsQuestion])
export const PointsAnswer = z.object({ v, known: z.array(Id) })
export type PointsAnswer = z.infer<typeof PointsAnswer>

/** The public half of an nkey: what NATS knows a user by. */
export const NatsPublicKey = z.string().regex(/^U[A-Z2-7]{55}$/, 'must be the public key of a NATS user')

/** An agent's word on the subject of the key it uses. `next`: it wants a credential for that key as well, to change over to. */
export const CredentialRequest = z.object({ v, next: NatsPublicKey.nullable() })
export type CredentialRequest = z.infer<typeof CredentialRequest>
/** `jwt` for `next`, where asked for. */
export const CredentialAnswer = z.object({ v, jwt: z.string().nullable() })
export type CredentialAnswer = z.infer<typeof CredentialAnswer>

/** To one agent: take a new key now. Nothing else looks like it, because agents can have others' answers sent to each other. */
export const RotateRequest = z.object({ v, rotate: z.literal(true) })
export type RotateRequest = z.infer<typeof RotateRequest>

export const BEAT_INTERVAL_MS = 5_000
/** A host is offline after this long without a beat. */
export const OFFLINE_AFTER_MS = 15_000
