import type { JobFailure } from '../../shared/job-event.ts'
import { failUnsent } from '../core/job-change.ts'
import type { HostSeal, Secrets } from '../core/secrets.ts'
import type { ChangeStore } from '../db/stores/change-store.ts'
import type { Committed } from '../db/stores/change-write.ts'
import type { OwedOrder } from '../db/stores/dispatch-store.ts'

/** The secrets that some orders need at their hosts: opened and sealed anew each time one is sent, and kept nowhere on the way. */
export interface OrderSecrets {
  /** @returns a kept secret, sealed for the host, in base64. @throws not_found, refused, internal: it cannot be, however often that is tried. */
  seal(host: string, secretId: string, context: string): Promise<string>
  /** Fails a job that cannot be sent for want of its secret. */
  onUnsealable(order: Pick<OwedOrder, 'jobId' | 'attempt'>, error: JobFailure): Promise<void>
}

export function createOrderSecrets(deps: {
  readonly secrets: Pick<Secrets, 'open'>
  readonly seal: HostSeal
  readonly changes: Pick<ChangeStore, 'change'>
  readonly afterCommit: (committed: Committed) => void
}): OrderSecrets {
  const { secrets, seal, changes } = deps
  return {
    seal: async (host, secretId, context) => seal.seal(host, await secrets.open(secretId), context),
    async onUnsealable({ jobId, attempt }, error) {
      deps.afterCommit(await changes.change([jobId], (job) => failUnsent(job, attempt, error)))
    },
  }
}
