import assert from 'node:assert/strict'
import { FleetError, toFleetError } from '../../../shared/errors.ts'
import type { VolumePlace, VolumeSnapshotPlace } from '../../../shared/volume-spec.ts'
import type { Watch } from '../../drivers/driver.ts'
import type { Volume, Volumes } from '../../volumes/volumes.ts'
import type { Pipeline, PipelineTools, StepContext, Work } from '../pipeline.ts'
import { firstLook, type Making, makeNoted } from './first-look.ts'
import { unwatched } from './unwatched.ts'

/** Sizes are rounded up to less than this: by ZFS, to 128 KiB. */
const MAX_GRAIN_BYTES = 131_072

export const createVolume: Pipeline<'volume.create'> = ({ place, sizeBytes, createParent }, _jobId, tools) => {
  const volumes = tools.volumes(place.pool)
  return making(place, tools, {
    isAlike: ({ origin, sizeBytes: there }) =>
      origin === undefined && there >= sizeBytes && there < sizeBytes + MAX_GRAIN_BYTES,
    make: (watch) => volumes.create({ volume: place.volume, sizeBytes, createParent }, watch),
  })
}

export const cloneVolume: Pipeline<'volume.clone'> = (spec, jobId, tools) => {
  const { source, place, createParent, sizeBytes, discardSource = false } = spec
  const volumes = tools.volumes(place.pool)
  const { part } = volumes
  const parting = discardSource && part !== undefined ? { part, source, jobId } : undefined
  return making(place, tools, {
    isAlike: ({ origin }) => origin?.path === source.volume && origin.snapshot === source.snapshot,
    async make(watch, before) {
      // It has parted already, and cannot be told from what is no clone.
      if (parting !== undefined && before?.origin === undefined && before !== undefined) return before
      if (source.pool !== place.pool) throw new FleetError('invalid', 'a clone lies in the pool of its source')
      const [made] = await volumes.clone([{ source, target: place.volume, createParent }], watch)
      if (made instanceof Error) throw made
      return made?.volume ?? assert.fail('a clone has no outcome')
    },
    sizeBytes,
    parting,
  })
}

interface How {
  isAlike(found: Volume): boolean
  make(watch: Watch, before: Volume | undefined): Promise<Volume>
  /** It grows to this, once it is noted as what the order has made. */
  readonly sizeBytes?: number | undefined
  /** Behind the commit: a clone that cannot part stays one. */
  readonly parting?: Parting | undefined
}

interface Parting {
  readonly part: NonNullable<Volumes['part']>
  readonly source: VolumeSnapshotPlace
  readonly jobId: string
}

function making(
  place: VolumePlace,
  tools: Pick<PipelineTools, 'volumes' | 'exports' | 'logger'>,
  { isAlike, make, sizeBytes, parting }: How,
): Work<'volume.create' | 'volume.clone'> {
  const { volume } = place
  const volumes = tools.volumes(place.pool)
  const named: Making<Volume> = {
    subject: `volume ${volume}`,
    find: () => volumes.find(volume),
    // Nobody is told of it before the commit: what is written to, or shown to others, is somebody's.
    isAlike: (found) => !found.isWritten && tools.exports.ofVolume(place).length === 0 && isAlike(found),
    destroy: () => volumes.destroy(volume, unwatched()),
  }
  let made: Volume | undefined
  let isParted = false
  let isSourceGone = false
  return {
    steps: [
      firstLook(named),
      {
        name: 'make',
        async run(context: StepContext) {
          made = await makeNoted(named, context.memory, (before) => make(context, before))
        },
      },
      {
        name: 'grow',
        async run(context: StepContext) {
          if (made === undefined || sizeBytes === undefined || sizeBytes <= made.sizeBytes) return
          made = await volumes.resize({ volume, sizeBytes }, context)
        },
      },
      {
        name: 'devices',
        commits: true,
        async run(context: StepContext) {
          if (made !== undefined) await volumes.settle([made], context)
        },
      },
      {
        name: 'part',
        async run(context: StepContext) {
          if (parting === undefined) return
          const { part, source, jobId } = parting
          try {
            await part(volume, context)
            isParted = true
            await volumes.destroySnapshot(source.volume, source.snapshot, context)
            isSourceGone = true
          } catch (error) {
            tools.logger.warn({ event: 'volume.source_kept', jobId, err: toFleetError(error) })
          }
        },
      },
    ],
    result() {
      assert(made)
      const { sizeBytes, device, guid } = made
      const of = parting === undefined ? {} : { isParted, isSourceGone }
      return { sizeBytes, device, guid, cow: volumes.cow, ...of }
    },
  }
}
