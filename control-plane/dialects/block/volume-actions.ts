import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { Caller } from '../../core/caller.ts'
import type { Core } from '../../core/core.ts'
import { route } from '../../http/route.ts'
import { Flag, ProjectItem } from './schemas.ts'

const text = z.string().max(255)
/** It has no arguments. */
const nothing = z.unknown()
const Connector = z.looseObject({
  initiator: text.meta({ description: 'Its iSCSI name', example: 'iqn.1994-05.com.redhat:17cf566367d2' }),
  host: text.nullish(),
})

const ACTIONS = {
  'os-extend': z.object({ new_size: z.number().meta({ description: 'GiB' }) }),
  'os-attach': z.object({
    instance_uuid: text.nullish(),
    host_name: text.nullish(),
    mountpoint: text.nullish(),
    mode: z.enum(['rw', 'ro']).nullish(),
  }),
  'os-detach': z.object({ attachment_id: text.nullish() }).nullable(),
  'os-reserve': nothing,
  'os-unreserve': nothing,
  'os-begin_detaching': nothing,
  'os-roll_detaching': nothing,
  'os-initialize_connection': z.object({ connector: Connector }),
  'os-terminate_connection': z.object({
    connector: z.looseObject({ initiator: text.nullish() }).nullish(),
    force: Flag.nullish(),
  }),
  'os-set_bootable': z.object({ bootable: Flag }),
  'os-update_readonly_flag': z.object({ readonly: Flag }),
  revert: z.object({ snapshot_id: text }),
} as const
type Name = keyof typeof ACTIONS
const NAMES = Object.keys(ACTIONS)

// as: every member becomes optional, which a mapped type over `fromEntries` cannot tell
const members = Object.fromEntries(Object.entries(ACTIONS).map(([name, schema]) => [name, schema.optional()])) as {
  readonly [Action in Name]: z.ZodOptional<(typeof ACTIONS)[Action]>
}

/** One member, whose name says what is to be done. */
export const ActionBody = z
  .strictObject(members, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? `is none of ${NAMES.join(', ')}` : undefined),
  })
  .refine((body) => Object.keys(body).length === 1, 'must hold one action')
export type ActionBody = z.output<typeof ActionBody>

export const ConnectionView = z.object({
  connection_info: z.object({
    driver_volume_type: z.literal('iscsi'),
    data: z.object({
      target_discovered: z.boolean(),
      target_iqn: z.string(),
      target_portal: z.string().meta({ example: '192.0.2.1:3260' }),
      target_lun: z.int(),
      volume_id: z.uuid(),
      auth_method: z.string().optional(),
      auth_username: z.string().optional(),
      auth_password: z.string().optional(),
      access_mode: z.enum(['rw', 'ro']),
      encrypted: z.boolean(),
      qos_specs: z.null(),
    }),
  }),
})
type Acted = { readonly jobId?: string; readonly connection?: z.output<typeof ConnectionView> }

interface About {
  readonly caller: Caller
  readonly id: string
  readonly signal: AbortSignal
}

/** Does the one action that a body names. @throws what core throws */
export async function act({ blockVolumes }: Core, { caller, id, signal }: About, body: ActionBody): Promise<Acted> {
  const { revert, 'os-extend': extend, 'os-attach': to, 'os-detach': from } = body
  const { 'os-set_bootable': bootable, 'os-update_readonly_flag': readonly } = body
  const { 'os-initialize_connection': open, 'os-terminate_connection': close } = body
  if (extend) return blockVolumes.extend(caller, id, extend.new_size)
  if (revert) return blockVolumes.revert(caller, id, revert.snapshot_id, 'latest')
  if (open) return { connection: await connected({ blockVolumes }, { caller, id, signal }, open.connector) }
  if (to) {
    const { instance_uuid: instanceId, host_name: hostName, mountpoint, mode } = to
    await blockVolumes.attach(caller, id, {
      ...{ instanceId: instanceId ?? undefined, hostName: hostName ?? undefined },
      ...{ mountpoint: mountpoint ?? undefined, mode: mode ?? undefined },
    })
  } else if (from !== undefined) await blockVolumes.detach(caller, id, from?.attachment_id ?? undefined)
  else if (close) {
    const { initiator } = close.connector ?? {}
    const force = close.force ?? undefined
    await blockVolumes.terminateConnection(caller, id, { initiator: initiator ?? undefined, force }, signal)
  } else if (bootable) await blockVolumes.setFlags(caller, id, { bootable: bootable.bootable })
  else if (readonly) await blockVolumes.setFlags(caller, id, { readonly: readonly.readonly })
  else if ('os-reserve' in body) await blockVolumes.reserve(caller, id)
  else if ('os-unreserve' in body) await blockVolumes.unreserve(caller, id)
  else if ('os-begin_detaching' in body) await blockVolumes.beginDetaching(caller, id)
  else if ('os-roll_detaching' in body) await blockVolumes.rollDetaching(caller, id)
  else throw new FleetError('invalid', 'the action has no arguments')
  return {}
}

async function connected(
  { blockVolumes }: Pick<Core, 'blockVolumes'>,
  { caller, id, signal }: About,
  { initiator, host }: z.output<typeof Connector>,
): Promise<z.output<typeof ConnectionView>> {
  const { isReadonly } = await blockVolumes.get(caller, id)
  const to = { initiator, host: host ?? undefined }
  const { targetIqn, portal, lun, auth } = await blockVolumes.initializeConnection(caller, id, to, signal)
  const secret = auth && { auth_method: 'CHAP', auth_username: auth.username, auth_password: auth.password }
  return {
    connection_info: {
      driver_volume_type: 'iscsi',
      data: {
        ...{ target_discovered: false, target_iqn: targetIqn, target_portal: portal, target_lun: lun, volume_id: id },
        ...secret,
        ...{ access_mode: isReadonly ? ('ro' as const) : ('rw' as const), encrypted: false, qos_specs: null },
      },
    },
  }
}

/** What a repeat under one `Idempotency-Key` may be shown: not the secret, which asking again tells. */
export function withoutSecret(view: z.output<typeof ConnectionView> | undefined) {
  if (view === undefined) return undefined
  const { auth_password: _, ...data } = view.connection_info.data
  return { connection_info: { ...view.connection_info, data } }
}

export const Acted = ConnectionView.optional()

export const actOnVolume = route({
  operation: 'actOnVolume',
  method: 'POST',
  path: '/v3/:project/volumes/:id/action',
  summary: 'Extend, revert, attach, connect and so on: one of them',
  description:
    '`os-initialize_connection` answers 200 with how to log in: a target for that initiator alone, with CHAP. All others answer 202 without a ' +
    'body. `os-extend` and `revert` go on behind the answer.',
  access: 'operator',
  status: 202 as 200 | 202,
  params: ProjectItem,
  body: ActionBody,
  result: Acted,
  answers: { 200: ConnectionView, 202: null },
  errors: [404, 503, 504],
  withoutSecrets: withoutSecret,

  async handle({ params: { id }, body, caller, signal }, core) {
    const { jobId, connection } = await act(core, { caller, id, signal }, body)
    const headers = jobId === undefined ? {} : { 'X-Job-Id': jobId }
    return { status: connection === undefined ? 202 : 200, body: connection, headers }
  },
})
