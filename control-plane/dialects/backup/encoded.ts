import { hash } from 'node:crypto'
import type { VolumeBackupInfo } from '../../core/volume-backups.ts'
import { presentVolumeBackup } from './present.ts'
import type { Listed } from './whole-list.ts'

interface Encoded {
  readonly json: string
  /** Of these very characters. */
  readonly mark: string
}

/** Core gives the same object for a backup as long as nothing about it changes. */
const encoded = new WeakMap<VolumeBackupInfo, Encoded>()

/** A backup as it stands in a list: of thousands hardly any has changed since the last one. */
export function encodeVolumeBackup(backup: VolumeBackupInfo): Encoded {
  const before = encoded.get(backup)
  if (before !== undefined) return before
  const json = JSON.stringify(presentVolumeBackup(backup))
  const now = { json, mark: hash('sha1', json, 'base64url') }
  encoded.set(backup, now)
  return now
}

export function encodeList({ items, next }: Listed<Encoded>): { readonly body: string; readonly etag: string } {
  const more = next.next_marker === undefined ? '' : `,"next_marker":${JSON.stringify(next.next_marker)}`
  const marks = items.map(({ mark }) => mark).join('')
  return {
    body: `{"backups":[${items.map(({ json }) => json).join(',')}]${more}}`,
    etag: `"${hash('sha1', marks + more, 'base64url')}"`,
  }
}
