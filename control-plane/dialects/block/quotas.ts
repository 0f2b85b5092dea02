import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { route } from '../../http/route.ts'
import { Flag, ProjectItem } from './schemas.ts'

const NO_LIMIT = -1
const KINDS = [
  ...['volumes', 'snapshots', 'gigabytes', 'per_volume_gigabytes'],
  ...['backups', 'backup_gigabytes', 'groups'],
] as const
const Usage = z.object({ limit: z.int(), in_use: z.int(), reserved: z.int() })

export const getQuotas = route({
  operation: 'getQuotas',
  method: 'GET',
  path: '/v3/:project/os-quota-sets/:id',
  summary: 'That a project has no limits, and with `usage` what it has of each',
  description:
    'Of the project that is acted for, by its id or as the path names it. Backups and groups are not counted here.',
  access: 'viewer',
  status: 200,
  params: ProjectItem,
  query: z.object({ usage: Flag.optional().meta({ override: { type: 'boolean' } }) }),
  result: z.object({ quota_set: z.object({ id: z.string() }).catchall(z.union([z.string(), z.int(), Usage])) }),
  errors: [404],

  async handle({ params: { project, id }, query, caller }, core) {
    if (id !== project && id !== caller.groupId) throw new FleetError('not_found', `there is no project '${id}' here`)
    const { volumes, snapshots, sizeGib } = await core.blockVolumes.usage(caller)
    const inUse: Readonly<Record<string, number>> = { volumes, snapshots, gigabytes: sizeGib }
    const quotaOf = (kind: string) =>
      query.usage ? { limit: NO_LIMIT, in_use: inUse[kind] ?? 0, reserved: 0 } : NO_LIMIT
    const quotas = Object.fromEntries(KINDS.map((kind) => [kind, quotaOf(kind)]))
    return { status: 200, body: { quota_set: { id, ...quotas } } }
  },
})
