import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { InstancePlace } from '../../shared/instance-spec.ts'
import type { ReadAnswerOf } from '../../shared/wire/reads.ts'
import { isHostSystem } from '../instances/host-system.ts'
import type { Instance } from '../instances/instances.ts'
import { errorCodeOf } from '../native/system-error.ts'
import { existing } from '../pipelines/instance/standstill.ts'
import type { PipelineTools } from '../pipelines/pipeline.ts'

type Parts = ReadAnswerOf<'instance-parts'>['parts']

/** Beyond what the fleet is told of, nobody backs up. */
const MAX_PARTS = 300
const MAX_DESTINATION = 4096

/** @throws not_found; unavailable where the host serves none of that type */
export async function instanceParts(
  tools: Pick<PipelineTools, 'instances' | 'datasetAt'>,
  { type, instance: id }: InstancePlace,
  signal: AbortSignal,
): Promise<ReadAnswerOf<'instance-parts'>> {
  const instance = await existing(tools.instances(type), id, signal)
  const parts: Parts = volumesOf(instance)
  for (const { destination, paths } of directoriesOf(instance)) {
    if (paths.length === 0) parts.push({ destination, dataset: null })
    for (const path of paths) {
      const found = await datasetOf(path, tools)
      // A disk is told of wherever it is; a mount that is gone is none.
      if (found !== 'gone') parts.push({ destination, dataset: found })
      else if (type === 'libvirt') parts.push({ destination, dataset: null })
    }
  }
  return { state: instance.state, parts: parts.slice(0, MAX_PARTS) }
}

/** Disks that are volumes are snapshotted as those. */
function volumesOf({ mounts }: Instance): Parts {
  return mounts.flatMap(({ kind, destination, volume }) =>
    kind === 'disk' && volume !== undefined ? [{ destination, dataset: null, volume }] : [],
  )
}

/** A domain has no root of its own. */
function directoriesOf({ type, rootfs, layers, mounts }: Instance) {
  const root = { destination: '/', paths: layers ?? (rootfs === undefined ? [] : [rootfs]) }
  const mounted = mounts
    .filter((mount) => !isHostSystem(mount) && mount.destination.length <= MAX_DESTINATION)
    .filter(({ kind, volume }) => kind !== 'disk' || volume === undefined)
    .map(({ destination, source }) => ({ destination, paths: [source] }))
    .toSorted((a, b) => Buffer.compare(Buffer.from(a.destination), Buffer.from(b.destination)))
  return type === 'libvirt' ? mounted : [root, ...mounted]
}

/** @returns null where it lies in none, `gone` where there is nothing */
async function datasetOf(path: string, tools: Pick<PipelineTools, 'datasetAt'>) {
  try {
    const isDirectory = (await stat(path)).isDirectory()
    const place = await tools.datasetAt(isDirectory ? path : dirname(path))
    return place === undefined ? null : { pool: place.pool, dataset: place.dataset }
  } catch (error) {
    const code = errorCodeOf(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return 'gone'
    throw error
  }
}
