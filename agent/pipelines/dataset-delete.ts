import { realpath } from 'node:fs/promises'
import { FleetError } from '../../shared/errors.ts'
import type { InstanceType } from '../../shared/instance-spec.ts'
import type { DatasetPlace } from '../../shared/job-spec.ts'
import type { Instances } from '../instances/instances.ts'
import type { Pipeline, PipelineTools } from './pipeline.ts'
import { dropBases } from './point/base-snapshots.ts'

/** Absence is success: the order may be a repeat. What the agent kept of it for its next backup goes with it. */
export const deleteDataset: Pipeline<'dataset.delete'> = (spec, _jobId, tools) => {
  const { target, madeFor } = spec
  const driver = tools.driver(target.pool)
  return {
    steps: [
      {
        name: 'destroy',
        commits: true,
        async run(context) {
          if (madeFor !== undefined) await requireUnused({ target, madeFor }, tools, context.signal)
          await driver.destroy(target.dataset, context)
          await dropBases(tools, target.dataset)
        },
      },
    ],
    result: () => ({}),
  }
}

interface MadeFor {
  readonly target: DatasetPlace
  readonly madeFor: InstanceType
}

/** @throws conflict while an instance has its root or a mount in it; unavailable when nobody can tell now */
async function requireUnused({ target, madeFor }: MadeFor, tools: PipelineTools, signal: AbortSignal): Promise<void> {
  const instances = servedOf(madeFor, tools)
  const found = await tools.driver(target.pool).find(target.dataset)
  if (instances === undefined || found === undefined) return
  const root = await realpath(found.mountpoint)
  for (const { name, rootfs, mounts } of await instances.list(signal)) {
    for (const path of [rootfs ?? '/', ...mounts.map(({ source }) => source)]) {
      // What is not there any more may still be named.
      const real = await realpath(path).catch(() => path)
      if (![path, real].some((one) => `${one}/`.startsWith(`${root}/`))) continue
      throw new FleetError('conflict', `the container '${name}' lies in it`, { blockers: [name] })
    }
  }
}

/** Where none are served any more, none can be asked. */
function servedOf(type: InstanceType, tools: PipelineTools): Instances | undefined {
  try {
    return tools.instances(type)
  } catch {
    return undefined
  }
}
