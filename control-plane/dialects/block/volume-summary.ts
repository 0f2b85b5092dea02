import { z } from 'zod'
import { route } from '../../http/route.ts'
import { listedFor } from './list-query.ts'
import { Flag, ProjectParams } from './schemas.ts'

/** Before the volume of that id, as the list of routes has it. */
export const getSummary = route({
  operation: 'getVolumesSummary',
  method: 'GET',
  path: '/v3/:project/volumes/summary',
  summary: 'How many volumes there are, how large together, and what their metadata says',
  access: 'viewer',
  status: 200,
  params: ProjectParams,
  query: z.object({
    all_tenants: Flag.optional().meta({
      override: { type: 'boolean' },
      description: 'Of every group, for those with a role over the fleet; else not looked at',
    }),
  }),
  result: z.object({
    'volume-summary': z.object({
      total_count: z.int(),
      total_size: z.int().meta({ description: 'GiB' }),
      metadata: z.record(z.string(), z.array(z.string())).meta({ description: 'All values of each member' }),
    }),
  }),
  async handle({ caller, query }, core) {
    const { count, sizeGib, metadata } = await core.blockVolumes.summary(listedFor(caller, query))
    const values = Object.fromEntries(Object.entries(metadata).map(([name, all]) => [name, [...all]]))
    return { status: 200, body: { 'volume-summary': { total_count: count, total_size: sizeGib, metadata: values } } }
  },
})
