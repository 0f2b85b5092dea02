import type { AuditChainStore } from '../db/stores/audit-chain-store.ts'

/** Rows linked in one transaction, and transactions in one round: what is left waits for the next. */
const BATCH = 2_000
const MAX_BATCHES = 50

/**
 * Links what has committed since the last round. Every replica runs it; the one that holds the head does the work. Rows are
 * written without a link, so that writers never wait for each other.
 */
export function createAuditClaimer(store: Pick<AuditChainStore, 'claim'>): () => Promise<void> {
  return async () => {
    for (let batches = 0; batches < MAX_BATCHES; batches += 1) {
      if ((await store.claim(BATCH)) < BATCH) return
    }
  }
}
