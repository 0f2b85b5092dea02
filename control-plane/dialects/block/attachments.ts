import { hash } from 'node:crypto'
import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { AskedConnector, AttachmentCondition, ToldAttachment } from '../../core/block-attachments.ts'
import type { BlockAttachment } from '../../core/block-volumes.ts'
import { route } from '../../http/route.ts'
import { nextLink } from './links.ts'
import { AttachmentListQuery, attachmentListOf, listedFor } from './list-query.ts'
import { baseOf, underProject } from './place.ts'
import { when } from './present.ts'
import { Links, ProjectItem, ProjectParams } from './schemas.ts'

const BASE = '/v3/:project/attachments'
const place = underProject('attachments')
const text = z.string().max(255)
/** Clients that have no connector send an empty one, or nulls. */
const Connector = z.looseObject({
  initiator: text.nullish().meta({ description: 'Its iSCSI name', example: 'iqn.1994-05.com.redhat:17cf566367d2' }),
  host: text.nullish(),
  mountpoint: text.nullish(),
  mode: z.enum(['rw', 'ro']).nullish(),
})
type Connector = z.output<typeof Connector>

const CreateBody = z.object({
  attachment: z.object({
    volume_uuid: text,
    instance_uuid: text.nullish().meta({ description: 'Of the server; anybody may be named who is none of ours' }),
    connector: Connector.nullish().meta({ description: 'Absent or empty: the volume is reserved for the server' }),
    mode: z.enum(['rw', 'ro', 'null']).nullish(),
  }),
})
const UpdateBody = z.object({ attachment: z.object({ connector: Connector }) })
const ActionBody = z
  .strictObject({ 'os-complete': z.unknown() })
  .refine((body) => 'os-complete' in body, 'must hold os-complete')

const ConnectionInfo = z.object({
  driver_volume_type: z.literal('iscsi').optional(),
  attachment_id: z.uuid().optional(),
  volume_id: z.uuid().optional(),
  target_discovered: z.boolean().optional(),
  target_iqn: z.string().optional(),
  target_portal: z.string().optional().meta({ example: '192.0.2.1:3260' }),
  target_lun: z.int().optional(),
  auth_method: z.string().optional(),
  auth_username: z.string().optional(),
  auth_password: z.string().optional().meta({ description: 'For operators of the group; never in a list' }),
  access_mode: z.enum(['rw', 'ro']).optional(),
  encrypted: z.boolean().optional(),
  qos_specs: z.null().optional(),
})

const summary = {
  id: z.uuid(),
  status: z.enum(['reserved', 'attaching', 'attached']),
  instance: z.uuid().nullable(),
  volume_id: z.uuid(),
}
const Summary = z.object(summary)
export const AttachmentView = z.object({
  ...summary,
  attached_at: z.string(),
  detached_at: z.literal(''),
  attach_mode: z.enum(['rw', 'ro']),
  connection_info: ConnectionInfo.meta({ description: 'Empty until it is connected' }),
})
const OneAttachment = z.object({ attachment: AttachmentView })
type OneAttachment = z.output<typeof OneAttachment>

function summaryOf({ id, state, instanceId, volumeId }: BlockAttachment): z.output<typeof Summary> {
  return { id, status: state, instance: instanceId, volume_id: volumeId }
}

function present({ attachment, secret }: ToldAttachment): z.output<typeof AttachmentView> {
  const { attachedAt, mode, connection, volumeId, id } = attachment
  const chap = connection?.chapUser && { auth_method: 'CHAP', auth_username: connection.chapUser }
  return {
    ...summaryOf(attachment),
    ...{ attached_at: attachedAt === null ? '' : when(attachedAt), detached_at: '', attach_mode: mode },
    connection_info:
      connection === null
        ? {}
        : {
            ...{ driver_volume_type: 'iscsi', attachment_id: id, volume_id: volumeId, target_discovered: false },
            ...{ target_iqn: connection.targetIqn, target_portal: connection.portal, target_lun: connection.lun },
            ...chap,
            ...(secret === null ? {} : { auth_password: secret }),
            ...{ access_mode: mode, encrypted: false, qos_specs: null },
          },
  }
}

/** Of all that is shown of it but the secret, which not everybody is told. */
function versionOf(attachment: BlockAttachment): string {
  return `"${hash('sha256', JSON.stringify(present({ attachment, secret: null })), 'base64url')}"`
}

function told(attachment: ToldAttachment) {
  return { body: { attachment: present(attachment) }, etag: versionOf(attachment.attachment) }
}

function expecting(ifMatch: ((etag: string) => boolean) | undefined): AttachmentCondition | undefined {
  return ifMatch && ((current) => ifMatch(versionOf(current)))
}

/** What a repeat under one `Idempotency-Key` may be shown: not the secret, which asking again tells. */
function withoutSecret({ attachment }: OneAttachment): OneAttachment {
  const { auth_password: _, ...rest } = attachment.connection_info
  return { attachment: { ...attachment, connection_info: rest } }
}

/** @returns undefined for one that names nobody. @throws invalid for one that names somebody by other things than an iSCSI name */
function connectorOf(given: Connector | null | undefined): AskedConnector | undefined {
  const { initiator, host, mountpoint, mode } = given ?? {}
  if (Object.values(given ?? {}).every((value) => value === null || value === undefined)) return undefined
  if (!initiator) {
    throw new FleetError('invalid', 'attachment.connector.initiator: is required', { field: 'attachment.connector' })
  }
  return {
    initiator,
    host: host ?? undefined,
    mountpoint: mountpoint ?? undefined,
    mode: mode ?? undefined,
  }
}

function listAt(rest: '' | '/detail') {
  const item = rest === '' ? Summary : AttachmentView
  return route({
    operation: `listAttachments${rest === '' ? '' : 'Detailed'}`,
    method: 'GET',
    path: `${BASE}${rest}`,
    summary: 'Who has or gets a volume, newest first',
    access: 'viewer',
    status: 200,
    params: ProjectParams,
    query: AttachmentListQuery,
    result: z.object({ attachments: z.array(item), attachments_links: Links.optional() }),

    async handle(request, core) {
      const { query, caller, params } = request
      const { filter, page } = attachmentListOf(query)
      const { items, nextCursor } = await core.blockAttachments.list(listedFor(caller, query), filter, page)
      const attachments = items.map((attachment) =>
        rest === '' ? summaryOf(attachment) : present({ attachment, secret: null }),
      )
      const path = `${baseOf(place, params)}${rest}`
      const more =
        nextCursor === null ? {} : { attachments_links: nextLink(request, path, { query, marker: nextCursor }) }
      return { status: 200, body: { attachments, ...more } }
    },
  })
}

const createAttachment = route({
  operation: 'createAttachment',
  method: 'POST',
  path: BASE,
  summary: 'Reserve a volume for a server, and connect it where a connector comes with it',
  description:
    'With a connector it answers when the export stands: a target for that initiator alone, with CHAP, which refuses writes where the mode is `ro`.',
  access: 'operator',
  status: 200,
  params: ProjectParams,
  body: CreateBody,
  result: OneAttachment,
  errors: [404, 503, 504],
  withoutSecrets: withoutSecret,

  async handle({ body, caller, signal }, core) {
    const { volume_uuid: volumeId, instance_uuid: instanceId, connector, mode } = body.attachment
    const asked = {
      ...{ volumeId, instanceId: instanceId || undefined, connector: connectorOf(connector) },
      mode: mode === 'null' ? undefined : (mode ?? undefined),
    }
    return { status: 200, ...told(await core.blockAttachments.create(caller, asked, signal)) }
  },
})

const getAttachment = route({
  operation: 'getAttachment',
  method: 'GET',
  path: `${BASE}/:id`,
  summary: 'One attachment, with how its initiator logs in',
  access: 'viewer',
  status: 200,
  params: ProjectItem,
  result: OneAttachment,
  errors: [404],
  async handle({ params, caller }, core) {
    return { status: 200, ...told(await core.blockAttachments.get(caller, params.id)) }
  },
})

const updateAttachment = route({
  operation: 'updateAttachment',
  method: 'PUT',
  path: `${BASE}/:id`,
  summary: 'Connect what was reserved',
  description: 'Answers when the export stands; the same initiator is told the same again.',
  access: 'operator',
  precondition: 'own',
  status: 200,
  params: ProjectItem,
  body: UpdateBody,
  result: OneAttachment,
  errors: [404, 503, 504],
  withoutSecrets: withoutSecret,

  async handle({ params, body, caller, signal, ifMatch }, core) {
    const connector = connectorOf(body.attachment.connector)
    if (connector === undefined) {
      throw new FleetError('invalid', 'attachment.connector: is required', { field: 'attachment.connector' })
    }
    const { id } = params
    return {
      status: 200,
      ...told(await core.blockAttachments.connect(caller, id, connector, signal, expecting(ifMatch))),
    }
  },
})

const completeAttachment = route({
  operation: 'completeAttachment',
  method: 'POST',
  path: `${BASE}/:id/action`,
  summary: 'The server has it: its volume is in use',
  access: 'operator',
  status: 204,
  params: ProjectItem,
  body: ActionBody,
  errors: [404],
  async handle({ params, caller }, core) {
    await core.blockAttachments.complete(caller, params.id)
    return { status: 204 }
  },
})

const deleteAttachment = route({
  operation: 'deleteAttachment',
  method: 'DELETE',
  path: `${BASE}/:id`,
  summary: 'End it: its initiator is shut out',
  description: 'Not while that is logged in. Answers with the other attachments of the volume.',
  access: 'operator',
  precondition: 'own',
  status: 200,
  params: ProjectItem,
  result: z.object({ attachments: z.array(Summary) }),
  errors: [404, 503, 504],
  async handle({ params, caller, signal, ifMatch }, core) {
    const left = await core.blockAttachments.delete(caller, params.id, signal, expecting(ifMatch))
    return { status: 200, body: { attachments: left.map(summaryOf) } }
  },
})

export const ATTACHMENT_ROUTES = [
  ...[listAt(''), listAt('/detail')],
  ...[createAttachment, getAttachment, updateAttachment, completeAttachment, deleteAttachment],
] as const
