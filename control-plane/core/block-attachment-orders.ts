import { FleetError } from '../../shared/errors.ts'
import type { AskedConnector, AttachmentCondition, BlockAttachments } from './block-attachments.ts'
import type { BlockConnections } from './block-connections.ts'
import { AttachmentRequest, ConnectorRequest } from './block-requests.ts'
import { actingOn, idFor, requireNoDisk, requireStatus } from './block-rules.ts'
import { requireTheirs, type Servers } from './block-servers.ts'
import type { BlockAttachmentReader, BlockVolumeRow, BlockVolumeStore } from './block-store.ts'
import type { BlockAttachment } from './block-volumes.ts'
import { actingFor, type Caller, hasRole, requireRole, visibleGroup } from './caller.ts'
import { checkRequest } from './check-request.ts'
import { requireCondition } from './condition.ts'

/** Until what a failed attachment may have begun is taken back. */
const TAKE_BACK_MS = 20_000

export function createBlockAttachments(deps: {
  readonly store: BlockVolumeStore
  readonly reader: BlockAttachmentReader
  readonly connections: BlockConnections
  readonly servers: Servers
}): BlockAttachments {
  const { store, reader, connections, servers } = deps

  async function find(caller: Caller, id: string) {
    const found = await reader.find(visibleGroup(caller), id)
    if (found === undefined) throw absent(id)
    return found
  }

  async function volumeOf(caller: Caller, id: string): Promise<BlockVolumeRow> {
    const volume = await store.find(visibleGroup(caller), id)
    if (volume === undefined) throw new FleetError('not_found', `there is no volume ${id}`)
    return volume
  }

  async function acting(caller: Caller, id: string) {
    requireRole(caller, 'operator')
    const { groupId, attachment } = await find(caller, id)
    const by = actingOn(caller, { groupId })
    return { by, volume: await volumeOf(by, attachment.volumeId) }
  }

  /** Who is let in is noted before, so that whoever takes the attachment away knows whom to shut out. */
  async function connect(
    by: Caller,
    { volume, id }: { readonly volume: BlockVolumeRow; readonly id: string },
    given: AskedConnector,
    signal: AbortSignal,
    ifMatch?: AttachmentCondition,
  ) {
    const { initiator, host, mountpoint, mode } = checkRequest(ConnectorRequest, given)
    const settle = (change: (row: BlockVolumeRow, now: BlockAttachment) => BlockAttachment, operation?: string) =>
      store.change(
        by,
        volume.id,
        (row) => ({ phase: null, settle: change(row, requireIn(row, id)) }),
        operation === undefined ? undefined : { operation },
      )
    let readonly = false
    let before: BlockAttachment | undefined
    await settle((row, now) => {
      requireCondition(ifMatch, now)
      before = now
      requireWritable(row, mode)
      const isOther = now.connection !== null && now.initiator !== initiator
      if (isOther) throw new FleetError('conflict', `attachment ${id} is connected to ${now.initiator}`)
      // What was reserved to be read is not written to because somebody asks for that later.
      readonly = row.isReadonly || now.mode === 'ro' || mode === 'ro'
      if (now.connection !== null && readonly !== (now.mode === 'ro')) {
        throw new FleetError('conflict', `attachment ${id} is connected to be written to; end it first`)
      }
      const hostName = host ?? now.hostName
      return { ...now, initiator, hostName, mountpoint: mountpoint ?? now.mountpoint, mode: readonly ? 'ro' : 'rw' }
    })
    const wanted = { initiator, host, isReadonly: readonly }
    const told = await connections.initialize(by, volume, wanted, signal).catch(async (error: unknown) => {
      // Another has the volume, and nothing was ordered.
      const isRefused = error instanceof FleetError && error.code === 'conflict'
      if (isRefused) await settle((_, now) => before ?? now)
      throw error
    })
    const row = await settle((_, now) => {
      const { targetIqn, portal, lun, auth } = told
      const connection = { targetIqn, portal, lun, chapUser: auth?.username ?? null }
      const state = now.state === 'attached' ? now.state : 'attaching'
      return { ...now, connection, state, attachedAt: now.attachedAt ?? new Date() }
    }, 'volume.connect')
    return { attachment: requireIn(row, id), secret: told.auth?.password ?? null }
  }

  return {
    async create(caller, request, signal) {
      requireRole(caller, 'operator')
      const { volumeId, instanceId = null, connector, mode } = checkRequest(AttachmentRequest, request)
      const seen = await volumeOf(caller, volumeId)
      const by = actingOn(caller, seen)
      await requireTheirs(servers, seen, instanceId)
      const id = idFor(caller, `block attachment of ${volumeId}`)
      const volume = await store.change(
        by,
        volumeId,
        (row) => {
          // Under one key it is asked for again: an earlier request died, or could not take it back.
          if (row.attachments.some((one) => one.id === id)) return undefined
          requireFor(row, instanceId)
          requireWritable(row, mode ?? connector?.mode)
          const isReadonly = row.isReadonly || (mode ?? connector?.mode) === 'ro'
          const { host: hostName = null, mountpoint = null } = connector ?? {}
          const made = { id, instanceId, hostName, mountpoint, mode: isReadonly ? 'ro' : 'rw' } as const
          return { phase: null, attach: { ...made, state: 'reserved' } }
        },
        { operation: 'volume.reserve' },
      )
      if (connector === undefined) return { attachment: requireIn(volume, id), secret: null }
      try {
        return await connect(by, { volume, id }, connector, signal)
      } catch (error) {
        await takeBack(by, volume, id)
        throw error
      }
    },

    async connect(caller, id, connector, signal, ifMatch) {
      const { by, volume } = await acting(caller, id)
      return connect(by, { volume, id }, connector, signal, ifMatch)
    },

    async complete(caller, id) {
      const { by, volume } = await acting(caller, id)
      const decide = (row: BlockVolumeRow) => {
        const now = requireIn(row, id)
        if (now.state === 'attached') return undefined
        if (now.state === 'attaching') return { phase: null, settle: { ...now, state: 'attached' as const } }
        throw new FleetError('conflict', `attachment ${id} is '${now.state}', and must be 'attaching' for this`)
      }
      await store.change(by, volume.id, decide, { operation: 'volume.attach' })
    },

    async delete(caller, id, signal, ifMatch) {
      const { by, volume } = await acting(caller, id)
      requireNoDisk([requireIn(volume, id)])
      requireCondition(ifMatch, requireIn(volume, id))
      await disconnect(by, volume, id, signal)
      const { attachments } = await store.change(
        by,
        volume.id,
        (row) => ({ phase: null, detach: [requireIn(row, id).id] }),
        { operation: 'volume.detach' },
      )
      return attachments
    },

    async get(caller, id) {
      const { groupId, attachment } = await find(caller, id)
      const { connection, volumeId } = attachment
      // Who may connect is told the same by doing so.
      const mayKnow = hasRole(actingFor(caller, groupId), 'operator')
      if (connection === null || connection.chapUser === null || !mayKnow) return { attachment, secret: null }
      return { attachment, secret: (await connections.secret(groupId, volumeId)) ?? null }
    },

    async list(caller, filter, page) {
      const { items, nextCursor } = await reader.list(visibleGroup(caller), filter, page)
      return { items: items.map(({ attachment }) => attachment), nextCursor }
    },
  }

  /** Its initiator is shut out, unless another attachment of the volume has the same. @throws conflict while that is logged in */
  async function disconnect(by: Caller, volume: BlockVolumeRow, id: string, signal: AbortSignal): Promise<void> {
    const { initiator } = requireIn(volume, id)
    const isShared = volume.attachments.some((other) => other.id !== id && other.initiator === initiator)
    if (initiator === null || isShared) return
    await connections.terminate(by, volume, { initiator }, signal)
  }

  /** Its export, which may still come to be, goes behind it. Where that cannot be ordered it stays `reserved`, and can be deleted. */
  async function takeBack(by: Caller, volume: BlockVolumeRow, id: string): Promise<void> {
    const now = await store.find(by.groupId, volume.id)
    if (now === undefined || !now.attachments.some((one) => one.id === id)) return
    const isShutOut = await disconnect(by, now, id, AbortSignal.timeout(TAKE_BACK_MS)).then(
      () => true,
      () => false,
    )
    if (isShutOut) await store.change(by, volume.id, () => ({ detach: [id] }))
  }
}

function absent(id: string): FleetError {
  return new FleetError('not_found', `there is no attachment ${id}`)
}

/** @throws not_found: it went meanwhile */
function requireIn({ attachments }: Pick<BlockVolumeRow, 'attachments'>, id: string): BlockAttachment {
  const found = attachments.find((one) => one.id === id)
  if (found === undefined) throw absent(id)
  return found
}

/** Nobody has it, or that very server alone. @throws conflict */
function requireFor(row: BlockVolumeRow, instanceId: string | null): void {
  const { attachments, status } = row
  const isTheirs = attachments.length > 0 && attachments.every((one) => one.instanceId === instanceId)
  const isHeld = status === 'reserved' || status === 'attaching' || status === 'in-use'
  if (instanceId === null || !isTheirs || !isHeld) requireStatus(row, 'available')
}

function requireWritable({ id, isReadonly }: BlockVolumeRow, mode: 'rw' | 'ro' | undefined): void {
  if (!isReadonly || mode !== 'rw') return
  throw new FleetError('invalid', `volume ${id} is read-only, and is attached as 'ro'`, { field: 'mode' })
}
