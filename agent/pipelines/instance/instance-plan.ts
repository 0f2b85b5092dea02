import { realpath, stat, statfs } from 'node:fs/promises'
import { FleetError } from '../../../shared/errors.ts'
import type { Hold, InstanceManifest } from '../../../shared/instance-spec.ts'
import type { PlaceInDataset } from '../../drivers/dataset-at.ts'
import { isHostSystem } from '../../instances/host-system.ts'
import type { Instance, InstanceConfig, InstanceMount, Instances } from '../../instances/instances.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import type { PipelineTools } from '../pipeline.ts'
import { isForbidden } from '../restore/destination.ts'

/** A directory of an instance, and where it is on this host. */
export interface Part {
  /** In the tree of an instance (shared/instance-spec.ts): `rootfs`, `mounts/<n>`. */
  readonly directory: string
  /** One directory, or those that it is the overlay of, the uppermost first. */
  readonly paths: readonly string[]
  /** One a path, where all of it lies in this agent's pools: then it is read from snapshots. */
  readonly places: readonly PlaceInDataset[] | undefined
}

export interface InstancePlan {
  readonly instance: Instance
  readonly config: InstanceConfig
  readonly manifest: InstanceManifest
  readonly parts: readonly Part[]
}

/** `statfs.f_type` (linux/magic.h) of file systems that hold no files of anybody's. */
const SPECIAL: ReadonlySet<number> = new Set([
  ...[0x9fa0, 0x62656572, 0x63677270, 0x27e0eb, 0x1cd1, 0x64626720, 0x74726163, 0x73636673, 0xcafe4a11, 0x6165676c],
  ...[0x19800202, 0x958458f6, 0x42494e4d, 0x6e736673, 0x62656570, 0xde5e81e4, 0x65735543, 0xf97cff8c],
])

/**
 * What an instance is made of, before it is held. Mounts that are no directory, that are gone, that just borrow the host's system, or that
 * hold what the agent keeps for itself are left out, and the manifest says why.
 * @throws not_found; refused where its root cannot be read
 */
export async function planInstance(
  { instances, instance, hold }: { readonly instances: Instances; readonly instance: Instance; readonly hold: Hold },
  tools: Pick<PipelineTools, 'datasetAt' | 'forbiddenPaths'>,
  signal: AbortSignal,
): Promise<InstancePlan> {
  const config = await instances.readConfig(instance.id, signal)
  // A domain is its disks, and those are volumes: what is left of it here is its configuration.
  const parts: Part[] = instance.type === 'libvirt' ? [] : [await rootOf(instance, hold, tools)]
  const mounts: InstanceManifest['mounts'] = []
  for (const [number, mount] of instance.mounts.toSorted(byDestination).entries()) {
    const found = await foundOf(mount, tools)
    const directory = 'why' in found ? null : `mounts/${number}`
    const { volume = null, ...told } = mount
    mounts.push({ ...told, volume, directory, why: 'why' in found ? found.why : null })
    if (!('why' in found)) parts.push({ directory: `mounts/${number}`, ...found })
  }
  const { type, name } = instance
  return { instance, config, parts, manifest: { version: 1, type, name, mounts, image: config.image ?? null } }
}

/**
 * An overlay is read from snapshots of its layers where all are in one dataset; else as it is mounted; and where it is not mounted, as
 * the instance is stopped, by a mount of our own.
 */
async function rootOf(
  { rootfs, layers, state }: Instance,
  hold: Hold,
  tools: Pick<PipelineTools, 'datasetAt'>,
): Promise<Part> {
  const directory = 'rootfs'
  if (layers !== undefined) {
    await requireOneTree(layers)
    const places = await Promise.all(layers.map((path) => tools.datasetAt(path)))
    const [first] = places
    const known = places.filter((place) => place !== undefined)
    const isOne = known.length === layers.length && known.every(({ dataset }) => dataset === first?.dataset)
    const isMounted = rootfs !== undefined && !(hold === 'stop' && state === 'RUNNING')
    if (isOne) return { directory, paths: layers, places: known }
    if (!isMounted) return { directory, paths: layers, places: undefined }
  }
  if (rootfs === undefined)
    throw new FleetError(
      'refused',
      'the root of this instance is no directory of the host; start it, or hold it by a pause',
    )
  const place = await tools.datasetAt(rootfs)
  return { directory, paths: [await realpath(rootfs)], places: place === undefined ? undefined : [place] }
}

async function foundOf(
  mount: InstanceMount,
  tools: Pick<PipelineTools, 'datasetAt' | 'forbiddenPaths'>,
): ReturnType<typeof locate> {
  if (mount.kind === 'disk')
    return { why: mount.volume === undefined ? 'a disk that is no volume' : 'a volume, which is backed up by itself' }
  return isHostSystem(mount) ? { why: 'of the host’s own system' } : locate(mount.source, tools)
}

async function locate(
  source: string,
  tools: Pick<PipelineTools, 'datasetAt' | 'forbiddenPaths'>,
): Promise<Pick<Part, 'paths' | 'places'> | { readonly why: string }> {
  try {
    if (!(await stat(source)).isDirectory()) return { why: 'not a directory' }
    if (SPECIAL.has((await statfs(source)).type)) return { why: 'a file system of the kernel, which holds no files' }
    const real = await realpath(source)
    const place = await tools.datasetAt(real)
    if (place !== undefined) return { paths: [real], places: [place] }
    if (isForbidden(real === '/' ? '' : real, tools.forbiddenPaths))
      return { why: 'holds, or is part of, what the agent keeps for itself' }
    return { paths: [real], places: undefined }
  } catch (error) {
    const code = errorCodeOf(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return { why: 'not on the host' }
    throw error
  }
}

/** Files of two file systems, or subvolumes, may have the same number in an overlay; an archive would take them for one. */
async function requireOneTree(layers: readonly string[]): Promise<void> {
  const devices = new Set((await Promise.all(layers.map((path) => stat(path)))).map(({ dev }) => dev))
  if (devices.size > 1) throw new FleetError('refused', 'the image of this instance lies on several file systems')
}

function byDestination(a: InstanceMount, b: InstanceMount): number {
  return Buffer.compare(Buffer.from(a.destination), Buffer.from(b.destination))
}
