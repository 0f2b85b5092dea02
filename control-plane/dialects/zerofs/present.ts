import type { SnapshotRestored } from '../../../shared/job-spec.ts'
import type { Dataset } from '../../core/datasets.ts'
import type { DatasetView, RestoreView, SnapshotView } from './schemas.ts'

/**
 * One validator for whichever path shows it. Beside the version stand those parts of an answer that change without it: what
 * the pool can do, and whether the origin is still there.
 */
export function etagOf({ id, version, driver, capabilities, origin }: Dataset): string {
  const sharing = capabilities.cow ? 'cow' : 'copy'
  return `"${id}.${version}.${driver}.${sharing}${origin?.name === null ? '.orphan' : ''}"`
}

/** `If-Match` as core asks it. */
export function expecting(
  ifMatch: ((etag: string) => boolean) | undefined,
): ((current: Dataset) => boolean) | undefined {
  return ifMatch && ((current) => ifMatch(etagOf(current)))
}

function epochSeconds(at: Date): number {
  return Math.floor(at.getTime() / 1000)
}

function presentPlacement({ host, pool, driver, mountpoint, capabilities, tags }: Dataset) {
  return { host, pool, driver, mountpoint, cow: capabilities.cow, tags }
}

export function presentDataset(dataset: Dataset): DatasetView {
  return {
    id: dataset.ordinal,
    name: dataset.name,
    uuid: dataset.id,
    created_at: epochSeconds(dataset.createdAt),
    root_inode: dataset.rootInode,
    is_readonly: dataset.readonly,
    is_snapshot: dataset.isSnapshot,
    ...presentPlacement(dataset),
  }
}

/** A snapshot whose origin is gone still tells its number. */
function presentOrigin({ origin }: Dataset): string {
  return origin === null ? '' : (origin.name ?? `ID:${origin.ordinal}`)
}

export function presentSnapshot(snapshot: Dataset): SnapshotView {
  return {
    id: snapshot.ordinal,
    name: snapshot.name,
    uuid: snapshot.id,
    source: presentOrigin(snapshot),
    created_at: epochSeconds(snapshot.createdAt),
    readonly: snapshot.readonly,
    ...presentPlacement(snapshot),
  }
}

/** The document words files only; directories say the same with their own noun. COW is claimed only where it happened. */
export function presentRestore(result: SnapshotRestored, destination: 'dataset' | 'host'): RestoreView {
  const noun = result.type === 'file' ? 'File' : 'Directory'
  const inode = destination === 'host' ? 0 : result.inode
  const size = result.type === 'file' ? result.fileSize : 0
  const message =
    result.cow && destination === 'dataset'
      ? `${noun} restored instantly (COW) - no data copied. Inode: ${inode}, Size: ${size} bytes`
      : `${noun} restored (copy-based). Size: ${size} bytes`
  return { inode_id: inode, file_size: size, message }
}
