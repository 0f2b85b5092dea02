import { createHash } from 'node:crypto'
import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import type { BlockVolumeRow } from './block-store.ts'
import type { BlockAttachment, BlockStatus } from './block-volumes.ts'
import { actingFor, type Caller, requireRole } from './caller.ts'

export const GIB = 2 ** 30

/** Whoever may work on what a group has, acting for that. @throws forbidden */
export function actingOn(caller: Caller, { groupId }: { readonly groupId: string }): Caller {
  requireRole(caller, 'operator')
  const by = actingFor(caller, groupId)
  requireRole(by, 'operator')
  return by
}

/** @throws conflict unless its status is one of these. */
export function requireStatus(row: Pick<BlockVolumeRow, 'id' | 'status'>, ...wanted: readonly BlockStatus[]): void {
  if (wanted.includes(row.status)) return
  const words = wanted.map((status) => `'${status}'`).join(' or ')
  throw new FleetError('conflict', `volume ${row.id} is '${row.status}', and must be ${words} for this`)
}

/** @throws conflict while somebody has it. */
export function requireDetached({ id, attachments }: Pick<BlockVolumeRow, 'id' | 'attachments'>): void {
  if (attachments.length === 0) return
  const blockers = attachments.map(({ instanceId, hostName }) => `server ${instanceId ?? hostName ?? 'unnamed'}`)
  throw new FleetError('conflict', `volume ${id} is attached`, { blockers })
}

/** @throws conflict for what a domain has as a disk: nobody but its administrator takes that away. */
export function requireNoDisk(attachments: readonly Pick<BlockAttachment, 'isDisk' | 'instanceId'>[]): void {
  const disk = attachments.find(({ isDisk }) => isDisk)
  if (disk === undefined) return
  const blockers = [`server ${disk.instanceId}`]
  throw new FleetError('conflict', 'a domain has the volume as a disk: take it out there', { blockers })
}

/**
 * What a request makes is called by this: a repeat under the same `Idempotency-Key` asks for the same.
 * Version 8, of a hash, where there is a key.
 */
export function idFor({ key }: Pick<Caller, 'key'>, what: string): string {
  if (key === undefined) return newId()
  const hex = createHash('sha256').update(`${what} ${key.hash}`).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

/** Snapshots that the fleet keeps for itself: what clones of volumes rest on, and what was there before a volume was rolled back. */
const CLONE_SOURCE = /^clone-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const SAFETY = /^before-\d/

export function cloneSourceName(volumeId: string): string {
  return `clone-${volumeId}`
}

export function isCloneSource(ownName: string): boolean {
  return CLONE_SOURCE.test(ownName)
}

export function isSafety(ownName: string): boolean {
  return SAFETY.test(ownName)
}
