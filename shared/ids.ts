import { randomUUIDv7 } from 'node:crypto'
import { z } from 'zod'

/** Time-ordered uuids: neighbours in time are neighbours in an index. */
export function newId(): string {
  return randomUUIDv7()
}

export const Id = z.uuid()

export const NAME_MAX_LENGTH = 200

/**
 * Names of datasets and snapshots: 1 to 200 of `A-Z a-z 0-9 . _ : -`, beginning with a letter or digit. This is the
 * intersection of what ZFS (`zfs_namecheck.c`), btrfs and a URL path segment take unquoted, so a name moves between drivers.
 */
export const ResourceName = z
  .string()
  .min(1, 'must not be empty')
  .max(NAME_MAX_LENGTH, `must be at most ${NAME_MAX_LENGTH} characters`)
  .regex(/^[A-Za-z0-9]/, 'must begin with a letter or a digit')
  .regex(/^[A-Za-z0-9._:-]*$/, "may hold only letters, digits, '.', '_', ':' and '-'")

/** Hosts and pools are NATS subject tokens too: lower-case letters, digits and inner hyphens, at most 63. */
export const HostName = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, {
  message: 'must be 1 to 63 lower-case letters, digits and inner hyphens',
})
