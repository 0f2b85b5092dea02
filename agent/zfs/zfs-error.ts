import { type ErrorCode, FleetError } from '../../shared/errors.ts'

/**
 * What `zfs` says (LC_ALL=C) and what it means. Seen with 2.1.11; texts from lib/libzfs/libzfs_util.c and cmd/zfs/zfs_main.c.
 * An unknown line is `internal`, never a guess.
 */
const MEANINGS: readonly (readonly [text: RegExp, code: ErrorCode, message: string])[] = [
  [/dataset does not exist|no such pool|parent does not exist|could not find any snapshots/, 'not_found', 'not there'],
  [/bookmark '[^']*' does not exist/, 'not_found', 'not there'],
  [/bookmark exists/, 'exists', 'another thing has this name'],
  [/not an earlier snapshot from the same fs/, 'conflict', 'one is not what the other was before'],
  [/dataset already exists/, 'exists', 'another thing has this name'],
  [/parent is not a filesystem/, 'exists', 'the parent is no file system'],
  [/has children|has dependent clones|filesystem has dependent/, 'conflict', 'others rest on it'],
  [/out of space|disk quota exceeded|greater than available space|quota.*exceeded/, 'no_space', 'the pool is full'],
  [/dataset is busy|pool or dataset is busy|target is busy|is busy/, 'busy', 'in use'],
  [/pool I\/O is currently suspended/, 'unavailable', 'the pool is suspended'],
  [/modules cannot be auto-loaded|modules are not loaded|\/dev\/zfs/, 'unavailable', 'this host has no ZFS loaded'],
  [/permission denied/, 'unavailable', 'ZFS refuses this agent'],
  [/dataset is read-only|pool is read-only|read-only/, 'unavailable', 'the pool is read-only'],
  [/volume size must be a multiple|invalid argument|name is too long|invalid character/, 'invalid', 'ZFS refuses this'],
]

/** @param stderr what `zfs` said */
export function zfsError(stderr: string): FleetError {
  const known = MEANINGS.find(([text]) => text.test(stderr))
  if (known === undefined) return new FleetError('internal', 'ZFS failed', { detail: stderr })
  return new FleetError(known[1], known[2], { detail: stderr })
}

/** Of a listing: nothing of that name, or nothing of the types that were asked for. */
export function isDatasetAbsence(line: string): boolean {
  return /^cannot open '[^']*': (dataset does not exist|operation not applicable to datasets of this type)$/.test(line)
}
