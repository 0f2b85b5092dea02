import { realpath } from 'node:fs/promises'
import { FleetError } from '../../shared/errors.ts'
import { InstanceType } from '../../shared/instance-spec.ts'
import type { DatasetPlace } from '../../shared/job-spec.ts'
import type { Instance, Instances } from '../instances/instances.ts'
import type { PipelineTools } from './pipeline.ts'

export interface Use {
  readonly place: DatasetPlace
  /** `any`: one that is stopped counts as well, as it could not be started again. */
  readonly by: 'any' | 'those that are not stopped'
}

/**
 * Asks every technology that this host serves now; where none are served, none can be asked.
 * @throws conflict with `blockers`, names, while instances have their root or a mount in the dataset; unavailable when nobody can tell now
 */
export async function requireUnused(
  { place, by }: Use,
  tools: Pick<PipelineTools, 'driver' | 'instances'>,
  signal: AbortSignal,
): Promise<void> {
  const found = await tools.driver(place.pool).find(place.dataset)
  if (found === undefined) return
  const root = await realpath(found.mountpoint)
  const blockers = new Set<string>()
  for (const instances of served(tools)) {
    for (const instance of await instances.list(signal)) {
      if (by !== 'any' && instance.state === 'STOPPED') continue
      if (await liesIn(instance, root)) blockers.add(instance.name)
    }
  }
  if (blockers.size === 0) return
  const names = [...blockers]
  const how = by === 'any' ? 'lies in it' : 'is not stopped, and lies in it'
  const more = names.length > 1 ? `, and ${names.length - 1} more` : ''
  throw new FleetError('conflict', `the container '${names[0]}' ${how}${more}`, { blockers: names })
}

async function liesIn({ rootfs, layers = [], mounts }: Instance, root: string): Promise<boolean> {
  const paths = [...(rootfs === undefined ? [] : [rootfs]), ...layers, ...mounts.map(({ source }) => source)]
  for (const path of paths) {
    // What is not there any more may still be named.
    const real = await realpath(path).catch(() => path)
    if ([path, real].some((one) => `${one}/`.startsWith(`${root}/`))) return true
  }
  return false
}

function served(tools: Pick<PipelineTools, 'instances'>): readonly Instances[] {
  return InstanceType.options.flatMap((type) => {
    try {
      return tools.instances(type)
    } catch {
      return []
    }
  })
}
