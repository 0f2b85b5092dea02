import { z } from 'zod'
import { HostName } from '../../../shared/ids.ts'
import { Hold, InstanceName, InstanceState, InstanceType } from '../../../shared/instance-spec.ts'
import { PageQuery, pageOf, Timestamp } from './schemas.ts'

const NAME_MAX = 256
const GROUP_MAX = 100
const GRACE_MAX_S = 600

const STATES = ['CREATING', ...InstanceState.options] as const

const StateList = z
  .string()
  .transform((text) => text.split(','))
  .pipe(z.array(z.enum(STATES)))
  .meta({
    override: { type: 'string' },
    description: 'One or more states, with commas between',
    example: 'RUNNING,FROZEN',
  })

export const InstanceId = z.object({ id: z.uuid() })

export const InstanceQuery = PageQuery.extend({
  type: InstanceType.optional(),
  host: z.string().min(1).optional().meta({ description: "A host's name" }),
  state: StateList.optional(),
  name: z.string().min(1).max(NAME_MAX).optional(),
  gone: z
    .enum(['true', 'false'])
    .optional()
    .meta({ description: 'Those that are gone instead of those that are there' }),
})

export const AssignInstanceBody = z.object({
  group: z.string().min(1).max(GROUP_MAX).meta({ description: 'Its id or its name' }),
})

export const CloneInstanceBody = z.object({
  name: InstanceName.meta({ description: 'Of the new instance, and of the dataset that is made for it' }),
  pool: HostName.optional().meta({ description: 'Of the same host; the one with most free bytes unless said' }),
  hold: Hold.optional().meta({
    description:
      'How the original stands still for the snapshot: frozen (`pause`, unless said), stopped, or not at all',
  }),
  start: z.boolean().optional().meta({ description: 'Whether the new one is started; not unless said' }),
})

export const StopInstanceBody = z.object({
  grace_seconds: z
    .number()
    .min(0)
    .max(GRACE_MAX_S)
    .optional()
    .meta({ description: 'How long it may take to stop by itself; 30 unless said' }),
})

export const InstanceView = z.object({
  id: z.uuid(),
  group_id: z.uuid(),
  host: z.string(),
  type: InstanceType,
  ref: z.string().nullable().meta({ description: 'What its host calls it; null while it is being made' }),
  name: z.string(),
  state: z.enum(STATES).meta({ description: '`OTHER`: on its way from one to another, dead, or unreadable' }),
  mounts: z
    .array(
      z.object({
        destination: z.string(),
        source: z
          .string()
          .nullable()
          .meta({ description: 'On its host; null for those without a role over the fleet' }),
        kind: z.enum(['volume', 'bind', 'disk']).meta({ description: '`disk`: of a domain of libvirt' }),
        volume: z.string().nullable().meta({
          description:
            'The name that an engine keeps it under; of a disk `<pool>/<volume>` of its host, or `iscsi:<wwn>`',
        }),
        readonly: z.boolean(),
      }),
    )
    .meta({ description: "Without the system's own" }),
  config_hash: z.string().nullable().meta({ description: 'Changes with its configuration' }),
  created_at: Timestamp.meta({ description: 'When the fleet first knew it' }),
  seen_at: Timestamp.nullable().meta({ description: 'When its host last told something new of it' }),
  gone_at: Timestamp.nullable().meta({ description: 'Since when its host has it no more' }),
  moved_to: z
    .string()
    .nullable()
    .meta({ description: 'The host that it was migrated to: this is the original, left behind stopped' }),
})
export type InstanceView = z.infer<typeof InstanceView>

export const InstancePage = pageOf(InstanceView)
export const InstanceAccepted = z.object({ id: z.uuid(), job_id: z.uuid() })
