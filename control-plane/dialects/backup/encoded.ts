import { hash } from 'node:crypto'
import type { VolumeBackupInfo } from '../../core/volume-backups.ts'
import { presentVolumeBackup } from './present.ts'
import type { Next } from './whole-list.ts'

interface Encoded {
  readonly json: string
  /** Of these very characters. */
  readonly mark: string
}

export interface EncodedList {
  readonly body: Uint8Array
  readonly etag: string
}

/** Core gives the same object for a backup, and for a long list, as long as nothing about it changes. */
const backups = new WeakMap<VolumeBackupInfo, Encoded>()
const lists = new WeakMap<readonly VolumeBackupInfo[], EncodedList>()

function encode(backup: VolumeBackupInfo): Encoded {
  const before = backups.get(backup)
  if (before !== undefined) return before
  const json = JSON.stringify(presentVolumeBackup(backup))
  const now = { json, mark: hash('sha1', json, 'base64url') }
  backups.set(backup, now)
  return now
}

/** Of thousands hardly any has changed since they were listed last. */
export function encodeList({
  items,
  next,
}: {
  readonly items: readonly VolumeBackupInfo[]
  readonly next: Next
}): EncodedList {
  const before = lists.get(items)
  if (before !== undefined) return before
  const encoded = items.map(encode)
  const more = next.next_marker === undefined ? '' : `,"next_marker":${JSON.stringify(next.next_marker)}`
  const marks = encoded.map(({ mark }) => mark).join('')
  const now = {
    body: Buffer.from(`{"backups":[${encoded.map(({ json }) => json).join(',')}]${more}}`),
    etag: `"${hash('sha1', marks + more, 'base64url')}"`,
  }
  lists.set(items, now)
  return now
}
