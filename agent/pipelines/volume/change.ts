import assert from 'node:assert/strict'
import { toFleetError } from '../../../shared/errors.ts'
import type { Volume, VolumeSnapshot } from '../../volumes/volumes.ts'
import type { Pipeline } from '../pipeline.ts'
import { dropBases, sourceOf } from '../point/base-snapshots.ts'
import { refuseDisk } from './domain-disks.ts'
import { refuseExported } from './exported.ts'
import { firstLook, type Making, makeNoted } from './first-look.ts'
import { unwatched } from './unwatched.ts'

const MS_PER_SECOND = 1_000

export const snapshotVolume: Pipeline<'volume.snapshot'> = ({ place }, _jobId, tools) => {
  const { pool, volume, snapshot } = place
  const volumes = tools.volumes(pool)
  const named: Making<VolumeSnapshot> = {
    subject: `snapshot ${volume}@${snapshot}`,
    find: () => volumes.findSnapshot(volume, snapshot),
    // ZFS tells whole seconds.
    isAlike: ({ createdAtMs }, sinceMs) => createdAtMs >= Math.floor(sinceMs / MS_PER_SECOND) * MS_PER_SECOND,
    destroy: () => volumes.destroySnapshot(volume, snapshot, unwatched()),
  }
  let made: VolumeSnapshot | undefined
  return {
    steps: [
      firstLook(named),
      {
        name: 'snapshot',
        commits: true,
        async run(context) {
          // A copy takes its time, and what an initiator writes meanwhile would be in it in part.
          if (!volumes.cow) {
            refuseExported(tools, place, 'is exported, and a copy of what is written meanwhile is no snapshot')
            await refuseDisk(tools, place, { by: 'those that are not stopped', signal: context.signal })
          }
          made = await makeNoted(named, context.memory, () => volumes.snapshot({ volume, snapshot }, context))
        },
      },
    ],
    result() {
      assert(made)
      return { guid: made.guid, sizeBytes: made.sizeBytes }
    },
  }
}

export const resizeVolume: Pipeline<'volume.resize'> = ({ place, sizeBytes }, jobId, tools) => {
  const volumes = tools.volumes(place.pool)
  let grown: Volume | undefined
  return {
    steps: [
      {
        name: 'resize',
        commits: true,
        async run(context) {
          grown = await volumes.resize({ volume: place.volume, sizeBytes }, context)
        },
      },
      {
        name: 'tell',
        async run({ signal }) {
          // It has grown all the same: whoever is not told sees it when he looks the next time.
          await tools.exports.resized(place, signal).catch((error: unknown) => {
            tools.logger.warn({ event: 'volume.resize_untold', jobId, err: toFleetError(error) })
          })
        },
      },
    ],
    result() {
      assert(grown)
      return { sizeBytes: grown.sizeBytes, device: grown.device, guid: grown.guid, cow: volumes.cow }
    },
  }
}

/** Absence is success: the order may be a repeat. */
export const deleteVolume: Pipeline<'volume.delete'> = ({ place }, _jobId, tools) => {
  const { pool, volume, snapshot } = place
  const volumes = tools.volumes(pool)
  return {
    steps: [
      {
        name: 'destroy',
        commits: true,
        async run(context) {
          if (snapshot !== undefined) return volumes.destroySnapshot(volume, snapshot, context)
          refuseExported(tools, place, 'is exported')
          await refuseDisk(tools, place, { by: 'any', signal: context.signal })
          await volumes.destroy(volume, context)
          // What was kept of it for its next points went with it.
          await dropBases(tools, sourceOf(place))
        },
      },
    ],
    async late() {
      if (snapshot !== undefined) return (await volumes.findSnapshot(volume, snapshot)) === undefined
      if ((await volumes.find(volume)) !== undefined) return false
      await dropBases(tools, sourceOf(place))
      return true
    },
    result: () => ({}),
  }
}
