import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { unpublish } from '../../points/series.ts'
import { updateMetadata } from '../../points/series-metadata.ts'
import type { Pipeline } from '../pipeline.ts'
import { dropBaseOf } from './base-snapshots.ts'
import { named } from './steps.ts'

/** Absence is success: the order may be a repeat. The point is gone as of one rename; nothing beside it is touched. */
export const deletePoint: Pipeline<'point.delete'> = (spec, jobId, tools) => ({
  steps: [
    {
      ...named('remove', async ({ signal, secret }) => {
        const { series, name, pointId } = spec
        const { points } = tools
        await using lease = await points.lease({ target: spec.target, sealed: secret, context: `order/${jobId}` })
        const { target } = lease
        await unpublish({ target, series, name }, signal)
        await updateMetadata({ target, series }, { gone: name }, signal)
        await dropBaseOf(tools, pointId)
        await rm(join(points.indexes, pointId), { recursive: true, force: true })
      }),
      commits: true,
    },
  ],
  result: () => ({}),
})
