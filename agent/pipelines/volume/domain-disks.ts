import { FleetError } from '../../../shared/errors.ts'
import type { VolumePlace } from '../../../shared/volume-spec.ts'
import type { Instance, Instances } from '../../instances/instances.ts'
import type { PipelineTools } from '../pipeline.ts'

/**
 * Domains of this host that have the volume as a disk without an export between. Asked of libvirt at this moment, where it is served.
 * @param by `any`: a stopped one counts as well, as it could not be started again
 * @throws conflict with their names; unavailable while libvirt cannot tell
 */
export async function refuseDisk(
  tools: Pick<PipelineTools, 'instances'>,
  { pool, volume }: VolumePlace,
  { by, signal }: { readonly by: 'any' | 'those that are not stopped'; readonly signal: AbortSignal },
): Promise<void> {
  const domains = await domainsOf(tools)?.list(signal)
  const having = (domains ?? []).filter((domain) => has(domain, `${pool}/${volume}`))
  const blockers = having.filter(({ state }) => by === 'any' || state !== 'STOPPED').map(({ name }) => name)
  if (blockers.length === 0) return
  const how = by === 'any' ? 'has it as a disk' : 'has it as a disk, and is not stopped'
  throw new FleetError('conflict', `volume ${volume} is in use: the domain '${blockers[0]}' ${how}`, { blockers })
}

function has({ mounts }: Instance, name: string): boolean {
  return mounts.some(({ kind, volume }) => kind === 'disk' && volume === name)
}

function domainsOf(tools: Pick<PipelineTools, 'instances'>): Instances | undefined {
  try {
    return tools.instances('libvirt')
  } catch {
    return undefined // this host serves none
  }
}
