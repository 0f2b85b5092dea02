import type { JobFailure } from '../../shared/job-event.ts'
import type { JobSpec } from '../../shared/job-spec.ts'
import { TargetSecret } from '../../shared/target-config.ts'
import type { LunConnection, LunSecret } from '../../shared/volume-spec.ts'
import { failUnsent } from '../core/job-change.ts'
import type { HostSeal, Secrets } from '../core/secrets.ts'
import type { ChangeStore } from '../db/stores/change-store.ts'
import type { Committed } from '../db/stores/change-write.ts'
import type { OwedOrder } from '../db/stores/dispatch-store.ts'
import type { ExportSecretsOfOrders } from '../db/stores/export-store.ts'

/** The secrets that some orders need at their hosts: opened and sealed anew each time one is sent, and kept nowhere on the way. */
export interface OrderSecrets {
  /**
   * @returns what an order needs, sealed for its host, in base64; undefined where it turns out to be nothing.
   * @throws not_found, refused, internal: it cannot be, however often that is tried.
   */
  seal(order: OwedOrder): Promise<string | undefined>
  /** Fails a job that cannot be sent for want of its secret. */
  onUnsealable(order: Pick<OwedOrder, 'jobId' | 'attempt'>, error: JobFailure): Promise<void>
}

/** Whether something is to be sealed beside it. */
export function hasSecret(spec: JobSpec): boolean {
  if ('pointId' in spec) return spec.target.secretId !== null || chapOf(spec) !== null
  if (spec.kind === 'export.create') return spec.elements.some(({ access }) => access.chapUser !== null)
  return spec.kind === 'export.reconcile' && spec.exports.some(({ access }) => access.chapUser !== null)
}

/** Of the LUN that an order reads or writes, where another service asks who that is. */
function chapOf(spec: JobSpec): LunConnection['chap'] {
  if (spec.kind === 'lun.restore') return spec.connection.chap
  return spec.kind === 'point.create' && spec.source.kind === 'lun' ? spec.source.connection.chap : null
}

export function createOrderSecrets(deps: {
  readonly secrets: Pick<Secrets, 'open'>
  readonly seal: HostSeal
  /** Of exports: by wwn. */
  readonly exports: ExportSecretsOfOrders
  readonly changes: Pick<ChangeStore, 'change'>
  readonly afterCommit: (committed: Committed) => void
}): OrderSecrets {
  const { secrets, seal, exports, changes } = deps

  /** A LUN's stands beside what the target has, in one box. */
  async function ofPoint(targetSecretId: string | null, chap: LunConnection['chap']): Promise<Buffer> {
    const kept = targetSecretId === null ? Buffer.from('{}') : await secrets.open(targetSecretId)
    if (chap === null) return kept
    const lun: LunSecret = { chapSecret: (await secrets.open(chap.secretId)).toString() }
    return Buffer.from(JSON.stringify({ ...TargetSecret.parse(JSON.parse(kept.toString())), ...lun }))
  }

  async function open({ jobId, spec }: OwedOrder): Promise<Buffer | undefined> {
    if ('pointId' in spec) return ofPoint(spec.target.secretId, chapOf(spec))
    if (spec.kind !== 'export.reconcile') return exports.of(jobId, undefined)
    return exports.of(
      jobId,
      spec.exports.map(({ exportId }) => exportId),
    )
  }

  return {
    async seal(order) {
      const bytes = await open(order)
      return bytes && seal.seal(order.host, bytes, `order/${order.jobId}`)
    },
    async onUnsealable({ jobId, attempt }, error) {
      deps.afterCommit(await changes.change([jobId], (job) => failUnsent(job, attempt, error)))
    },
  }
}
