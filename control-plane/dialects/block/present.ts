import type {
  BlockSnapshot,
  BlockSnapshotCondition,
  BlockVolume,
  BlockVolumeCondition,
} from '../../core/block-volumes.ts'
import type { Caller } from '../../core/caller.ts'
import type { SnapshotView, VolumeSummary, VolumeView } from './schemas.ts'

type Link = { readonly rel: string; readonly href: string }
type IfMatch = ((etag: string) => boolean) | undefined

/** There is one, and clients of the block API want it to have a name: this is what they call theirs. */
export const ZONE = 'nova'

/** Its status changes with its jobs, its version with everything else. */
export function etagOf({
  id,
  version,
  status,
}: Pick<BlockVolume | BlockSnapshot, 'id' | 'version' | 'status'>): string {
  return `"${id}.${version}.${status}"`
}

export function expecting(ifMatch: IfMatch): (BlockVolumeCondition & BlockSnapshotCondition) | undefined {
  return ifMatch && ((current: BlockVolume | BlockSnapshot) => ifMatch(etagOf(current)))
}

export function when(at: Date): string {
  return at.toISOString().replace('Z', '000')
}

export function presentSummary({ id, name }: BlockVolume, links: Link[]): VolumeSummary {
  return { id, name, links }
}

export function presentVolume(volume: BlockVolume, caller: Caller, links: Link[]): VolumeView {
  const { id, name, description, status, host, pool, updatedAt, isReadonly } = volume
  return {
    ...{ id, name, description, status, size: volume.sizeGib },
    // As it is told there: among what clients wrote.
    metadata: isReadonly ? { ...volume.metadata, readonly: 'True' } : { ...volume.metadata },
    attachments: volume.attachments.flatMap((one) =>
      one.state !== 'attached'
        ? []
        : {
            ...{ id, attachment_id: one.id, volume_id: id, server_id: one.instanceId, host_name: one.hostName },
            ...{ device: one.mountpoint, attached_at: when(one.attachedAt ?? one.createdAt) },
          },
    ),
    created_at: when(volume.createdAt),
    updated_at: updatedAt && when(updatedAt),
    ...{ availability_zone: ZONE, volume_type: pool, volume_type_id: volume.poolId, consumes_quota: true },
    snapshot_id: volume.snapshotId,
    source_volid: volume.sourceVolumeId,
    backup_id: volume.backupId,
    bootable: volume.isBootable ? 'true' : 'false',
    ...{ encrypted: false, multiattach: false, shared_targets: false, service_uuid: null, replication_status: null },
    ...{ consistencygroup_id: null, migration_status: null, user_id: null },
    'os-vol-tenant-attr:tenant_id': volume.groupId,
    ...(caller.fleetRole === null ? {} : { 'os-vol-host-attr:host': `${host}@holdfast#${pool}`, cluster_name: null }),
    links,
  }
}

export function presentSnapshot(snapshot: BlockSnapshot): SnapshotView {
  const { id, name, description, status, volumeId, updatedAt } = snapshot
  return {
    ...{
      id,
      name,
      description,
      status,
      volume_id: volumeId,
      size: snapshot.sizeGib,
      user_id: null,
      consumes_quota: true,
      metadata: { ...snapshot.metadata },
    },
    created_at: when(snapshot.createdAt),
    updated_at: updatedAt && when(updatedAt),
    'os-extended-snapshot-attributes:progress': status === 'available' ? '100%' : '0%',
    'os-extended-snapshot-attributes:project_id': snapshot.groupId,
  }
}
