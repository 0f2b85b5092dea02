import type { Logger } from '../../shared/logger.ts'
import { type Audit, createAudit } from '../core/audit.ts'
import { createHeadMarks } from '../core/audit-chain.ts'
import { isRefusal, type Sql } from '../db/sql.ts'
import { createAuditChainStore } from '../db/stores/audit-chain-store.ts'
import { createAuditStore } from '../db/stores/audit-store.ts'
import { writeAudit } from '../db/stores/audit-write.ts'
import { createAuditClaimer } from './claimer.ts'
import { createAuditRecorder } from './recorder.ts'

export interface OpenAudit extends Audit {
  /** One round of the claimer. */
  link(): Promise<void>
  /** Entries lost since the start. */
  dropped(): number
  stop(): Promise<void>
}

/** The audit of one replica. @param deps.keys make and check the marks of the chain's head. */
export function openAudit(deps: {
  readonly sql: Sql
  readonly keys: Parameters<typeof createHeadMarks>[0]
  readonly logger: Logger
}): OpenAudit {
  const { sql, keys, logger } = deps
  const recorder = createAuditRecorder({ write: (entries) => writeAudit(sql, entries), isRefusal, logger })
  const audit = createAudit({ reader: createAuditStore(sql), record: recorder.record })
  const link = createAuditClaimer(createAuditChainStore(sql, createHeadMarks(keys)))
  return { ...audit, link, dropped: recorder.dropped, stop: recorder.stop }
}
