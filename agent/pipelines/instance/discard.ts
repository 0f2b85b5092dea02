import { toFleetError } from '../../../shared/errors.ts'
import type { InstanceSnapshotDiscarded } from '../../../shared/instance-spec.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import type { Watch } from '../../drivers/driver.ts'
import type { Pipeline, PipelineTools } from '../pipeline.ts'
import { dropBases } from '../point/base-snapshots.ts'

const MAX_BLOCKERS = 100

/**
 * An order of which some is done and some is not has succeeded, and says how far it came: what is gone does not come back. One that is
 * cancelled has its say the same way.
 */
export const discardInstanceSnapshot: Pipeline<'instance.discard'> = ({ parts }, _jobId, tools) => {
  let told: InstanceSnapshotDiscarded = { removed: 0, error: null }
  return {
    steps: [
      {
        name: 'discard',
        commits: true,
        async run(context) {
          for (const [removed, part] of parts.entries()) {
            try {
              await remove(part, tools, context)
              told = { removed: removed + 1, error: null }
            } catch (thrown) {
              const { code, message, blockers } = toFleetError(thrown)
              const named = blockers === undefined ? {} : { blockers: blockers.slice(0, MAX_BLOCKERS) }
              told = { removed, error: { code, message, ...named } }
              return
            }
          }
        },
      },
    ],
    result: () => told,
  }
}

async function remove(
  part: SpecOf<'instance.discard'>['parts'][number],
  tools: PipelineTools,
  watch: Watch,
): Promise<void> {
  if (part.kind === 'volume') {
    const { pool, volume, snapshot } = part.place
    return tools.volumes(pool).destroySnapshot(volume, snapshot, watch)
  }
  const { pool, dataset } = part.place
  await tools.driver(pool).destroy(dataset, watch)
  await dropBases(tools, dataset)
}
