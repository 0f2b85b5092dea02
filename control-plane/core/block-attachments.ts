import type { BlockAttachment } from './block-volumes.ts'
import type { Caller } from './caller.ts'
import type { Condition } from './condition.ts'
import type { Page, PageRequest } from './page.ts'

/** Who connects, as it says of itself. */
export interface AskedConnector {
  readonly initiator: string
  readonly host?: string | undefined
  readonly mountpoint?: string | undefined
  readonly mode?: 'rw' | 'ro' | undefined
}

export type AttachmentCondition = Condition<BlockAttachment>

interface AskedAttachment {
  readonly volumeId: string
  readonly instanceId?: string | undefined
  /** Absent: the volume is kept for the server until it says who it is. */
  readonly connector?: AskedConnector | undefined
  /** Absent: as its connector says, else `rw`; of a volume that is read-only always `ro`. */
  readonly mode?: 'rw' | 'ro' | undefined
}

export interface AttachmentFilter {
  readonly volumeId?: string | undefined
  readonly instanceId?: string | undefined
  readonly state?: string | undefined
}

/** `secret`: CHAP's, for who may act on it; null where none is asked for, or it is not told. */
export interface ToldAttachment {
  readonly attachment: BlockAttachment
  readonly secret: string | null
}

/**
 * Attachments as resources: reserved → attaching (its initiator is let in) → attached → gone, of a volume that one server has at a time. That
 * server may have several, of which one is connected: it takes the volume along to another host.
 */
export interface BlockAttachments {
  /** Waits for its export where a connector comes with it. @throws not_found, invalid, conflict, unavailable, timeout: there is none then */
  create(caller: Caller, request: AskedAttachment, signal: AbortSignal): Promise<ToldAttachment>
  /** Lets its initiator in; the same one is told the same again. @throws as `create`: it is as it was then */
  connect(
    caller: Caller,
    id: string,
    connector: AskedConnector,
    signal: AbortSignal,
    ifMatch?: AttachmentCondition,
  ): Promise<ToldAttachment>
  /** @throws conflict: nobody was let in yet */
  complete(caller: Caller, id: string): Promise<void>
  /** @returns the volume's others. @throws conflict while its initiator is logged in */
  delete(
    caller: Caller,
    id: string,
    signal: AbortSignal,
    ifMatch?: AttachmentCondition,
  ): Promise<readonly BlockAttachment[]>
  /** @throws not_found */
  get(caller: Caller, id: string): Promise<ToldAttachment>
  /** Newest first; a page's cursor is the id of its last one. @throws invalid for a cursor that names none */
  list(caller: Caller, filter: AttachmentFilter, page: PageRequest): Promise<Page<BlockAttachment>>
}
