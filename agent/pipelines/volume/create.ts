import assert from 'node:assert/strict'
import { FleetError } from '../../../shared/errors.ts'
import type { VolumePlace } from '../../../shared/volume-spec.ts'
import type { Watch } from '../../drivers/driver.ts'
import type { Volume, Volumes } from '../../volumes/volumes.ts'
import type { Pipeline, StepContext, Work } from '../pipeline.ts'
import { firstLook } from './first-look.ts'
import { unwatched } from './unwatched.ts'

export const createVolume: Pipeline<'volume.create'> = ({ place, sizeBytes, createParent }, _jobId, tools) => {
  const volumes = tools.volumes(place.pool)
  return making(volumes, place, (watch) => volumes.create({ volume: place.volume, sizeBytes, createParent }, watch))
}

export const cloneVolume: Pipeline<'volume.clone'> = ({ source, place, createParent, sizeBytes }, _jobId, tools) => {
  const volumes = tools.volumes(place.pool)
  return making(volumes, place, async (watch) => {
    if (source.pool !== place.pool) throw new FleetError('invalid', 'a clone lies in the pool of its source')
    const [made] = await volumes.clone([{ source, target: place.volume, createParent }], watch)
    if (made instanceof Error) throw made
    const { volume } = made ?? assert.fail('a clone has no outcome')
    if (sizeBytes === undefined || sizeBytes <= volume.sizeBytes) return volume
    return volumes.resize({ volume: place.volume, sizeBytes }, watch)
  })
}

function making(
  volumes: Volumes,
  { volume }: VolumePlace,
  make: (watch: Watch) => Promise<Volume>,
): Work<'volume.create' | 'volume.clone'> {
  let made: Volume | undefined
  return {
    steps: [
      firstLook({
        subject: `volume ${volume}`,
        isThere: async () => (await volumes.find(volume)) !== undefined,
        takeBack: () => volumes.destroy(volume, unwatched()),
      }),
      {
        name: 'make',
        async run(context: StepContext) {
          made = await make(context)
        },
      },
      {
        name: 'devices',
        commits: true,
        async run(context: StepContext) {
          if (made !== undefined) await volumes.settle([made], context)
        },
      },
    ],
    result() {
      assert(made)
      const { sizeBytes, device, guid } = made
      return { sizeBytes, device, guid, cow: volumes.cow }
    },
  }
}
