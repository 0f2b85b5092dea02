import assert from 'node:assert/strict'
import { FleetError } from '../../../shared/errors.ts'
import type { InstanceManifest } from '../../../shared/instance-spec.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import type { PointRestored } from '../../../shared/point-spec.ts'
import { TarBytes } from '../../archive/read/tar-bytes.ts'
import { MANIFEST_PATH, MAX_MANIFEST_BYTES, parseManifest } from '../instance/kept-instance.ts'
import { InstanceMaking, type MadeTree } from '../instance/making.ts'
import { InstancePlacement } from '../instance/placement.ts'
import type { Pipeline, PipelineTools } from '../pipeline.ts'
import type { OpenPoint } from './extraction.ts'
import { NewDatasetRestore } from './restore-new.ts'
import { UpdatedDatasetRestore } from './restore-update.ts'

/**
 * A point of an instance, and the instance. What comes from a target is not trusted with the host, and nothing of this host that the
 * original had mounted is: its mounts are directories of the dataset.
 */
export const restoreInstance: Pipeline<'point.restore'> = (spec, jobId, tools) => {
  const { destination, paths } = spec
  assert(destination.kind === 'instance')
  const { type, start } = destination
  const tree = treeOf(spec, tools)
  const making = new InstanceMaking({
    tree: madeTree(tree),
    placement: new InstancePlacement(tools.instances(type), { ...destination, jobId, trusted: false }, tools),
    start,
    subject: 'restore',
    async admit(context) {
      if (paths.length > 0) throw new FleetError('invalid', 'an instance is made of a whole point', { field: 'paths' })
      assert(tree.point)
      const of = await manifestOf(tree.point, context.signal)
      if (of.type !== type)
        throw new FleetError('refused', `the point is of an instance of type '${of.type}', not '${type}'`)
    },
  })
  return {
    steps: making.steps,
    committed: () => making.isCommitted,
    result() {
      const { tree: restored, made } = making.result()
      return { ...restored, instance: made }
    },
    close: () => making.close(),
  }
}

type Restore = NewDatasetRestore | UpdatedDatasetRestore

function treeOf(spec: SpecOf<'point.restore'>, tools: PipelineTools): Restore {
  const { destination } = spec
  assert(destination.kind === 'instance')
  const { place, update } = destination
  if (update === null) return new NewDatasetRestore(spec, place, tools)
  return new UpdatedDatasetRestore(spec, { place, from: update }, tools)
}

function madeTree(tree: Restore): MadeTree<PointRestored> {
  return {
    look: (context) => tree.look(context),
    stage: (context) => tree.stage(context),
    unstage: (context) => tree.unstage(context),
    settle: () => tree.settle(),
    result: () => tree.result(),
    mountpoint() {
      const { made } = tree.result()
      assert(made)
      return made.mountpoint
    },
    close: () => tree.close(),
  }
}

/** Before anything else is read. @throws refused for a point of something else */
async function manifestOf({ chain }: OpenPoint, signal: AbortSignal): Promise<InstanceManifest> {
  const found = await chain.find(MANIFEST_PATH, signal)
  const point = chain.points[found?.layer ?? -1]
  if (found?.member.type !== 'file' || found.member.size > MAX_MANIFEST_BYTES || point === undefined)
    throw new FleetError('refused', 'the point is of no instance')
  const { dataOffset, storedSize } = found.member
  return parseManifest(await new TarBytes(point, signal).read(dataOffset, storedSize))
}
