import type { ErrorCode } from '../../shared/errors.ts'
import { atLeast, type Caller, type RequestMark, requireRole } from './caller.ts'
import type { Page, PageRequest } from './page.ts'

/**
 * - `accepted` the order is durable; how it ended is a row of its own with the same job
 * - `done`     it has happened
 * - `refused`  it was not allowed, not understood or not possible, and nothing has happened
 * - `failed`   it was tried and did not succeed
 */
export const AUDIT_RESULTS = ['accepted', 'done', 'refused', 'failed'] as const
export type AuditResult = (typeof AUDIT_RESULTS)[number]

/** Who did it. A `Caller` is one. */
export interface AuditActor extends Pick<Caller, 'subject' | 'userId' | 'request'> {
  /** The tenant that it is about, whose admins see the row; null: only admins of the fleet do. */
  readonly groupId: string | null
  readonly via: Caller['via'] | 'agent' | null
}

/** Somebody whose credentials are not known, or were not asked for. */
export function anonymous(request: RequestMark | null): AuditActor {
  return { subject: 'anonymous', userId: null, groupId: null, via: null, request }
}

/**
 * Who did something to what belongs to `groupId`, or to no tenant (null), whichever group they acted for: an admin of the
 * fleet acts for some group whatever it does, and that group's admins are not to read of it.
 */
export function actorOn(groupId: string | null, { subject, userId, via, request }: AuditActor): AuditActor {
  return { subject, userId, groupId, via, request }
}

/** One fact for the audit: who, from where (the actor's request), what, and with which result. */
export interface AuditEntry {
  readonly by: AuditActor
  /** What was done, in core's words: `dataset.create`, `job.cancel`, `user.update`, `session.login`, `host.enrol`. */
  readonly operation: string
  /** What it was done to, as far as that is known: `{ kind: 'user', id, name }`. */
  readonly object?: { readonly kind: string; readonly id?: string | null; readonly name?: string | null }
  readonly result: AuditResult
  /** Why it was refused or failed. */
  readonly code?: ErrorCode | 'cancelled' | 'too_many' | undefined
  readonly jobId?: string | undefined
  /** Small facts beside these, such as the names of the fields that changed. Never a secret, never a body. */
  readonly detail?: Readonly<Record<string, unknown>> | undefined
}

/** A row of the audit as it is kept. */
export interface AuditRecord {
  readonly ordinal: number
  readonly at: Date
  readonly subject: string
  readonly userId: string | null
  readonly groupId: string | null
  readonly via: string | null
  readonly address: string | null
  readonly requestId: string | null
  readonly method: string | null
  readonly path: string | null
  readonly operation: string
  readonly objectKind: string | null
  readonly objectId: string | null
  readonly objectName: string | null
  readonly result: AuditResult
  readonly code: string | null
  readonly jobId: string | null
  readonly detail: unknown
  /** Its place in the chain and its link; null until the claimer comes by, within a second. */
  readonly chainSeq: number | null
  readonly hash: Buffer | null
}

export interface AuditFilter {
  readonly subject?: string | undefined
  readonly operation?: string | undefined
  /** An object's id or name. */
  readonly object?: string | undefined
  readonly result?: AuditResult | undefined
  readonly requestId?: string | undefined
  readonly jobId?: string | undefined
  readonly since?: Date | undefined
  readonly until?: Date | undefined
}

/** What Postgres must answer for the audit. `groupId` null: every group's rows, and those of none. */
export interface AuditReader {
  list(groupId: string | null, filter: AuditFilter, page: PageRequest): Promise<Page<AuditRecord>>
}

export interface Audit {
  /**
   * Tells of what has no transaction of its own: refusals, logins, forged reports. Returns at once; entries are written
   * together soon after. What does not fit the queue is counted and dropped, so that nobody's answer waits for the audit.
   */
  record(entry: AuditEntry): void
  /** The listener's: left out when the refusal of that very request was told already, by who knew more of it. */
  recordAnswer(entry: AuditEntry): void
  /** Newest first; a group's admin sees what was done for that group. @throws forbidden; invalid for a cursor that is not ours. */
  list(caller: Caller, filter: AuditFilter, page: PageRequest): Promise<Page<AuditRecord>>
}

export function createAudit(deps: { readonly reader: AuditReader; readonly record: Audit['record'] }): Audit {
  // Requests by identity, not by id: clients choose ids.
  const told = new WeakSet<RequestMark>()

  return {
    record(entry) {
      if (entry.by.request !== null && entry.result !== 'done') told.add(entry.by.request)
      deps.record(entry)
    },
    recordAnswer(entry) {
      if (entry.by.request === null || !told.has(entry.by.request)) deps.record(entry)
    },
    async list(caller, filter, page) {
      if (atLeast(caller.fleetRole, 'admin')) return deps.reader.list(null, filter, page)
      requireRole(caller, 'admin')
      return deps.reader.list(caller.groupId, filter, page)
    },
  }
}
