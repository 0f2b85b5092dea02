import { z } from 'zod'
import type { Status } from '../../native/status.ts'

const Receipt = z.object({
  /** Of the staged object; see identityOf. */
  identity: z.string(),
  type: z.enum(['file', 'directory']),
  inode: z.number(),
  fileSize: z.number(),
  files: z.number(),
  bytes: z.number(),
  cow: z.boolean(),
})

/**
 * What the journal keeps of a staged restore: enough to know it again, and to answer with the same result when a repeat of
 * the order finds the work done. It is written when the staged object is whole and durable, and taken back before that
 * object is removed; so once it is there, the staged name without that object means: it was renamed.
 */
export type Receipt = z.infer<typeof Receipt>

/** In the journal: nothing is staged (any more). */
export const NOTHING_STAGED = ''

/**
 * Inode and birth, which two names in one directory never share by chance: inode numbers are used again, births are not.
 * The device is left out because btrfs numbers its subvolumes anew at each mount.
 */
export function identityOf(status: Status): string {
  return `${status.inode}:${status.born}`
}

export function encodeReceipt(receipt: Receipt): string {
  return JSON.stringify(receipt)
}

export function parseReceipt(noted: string | undefined): Receipt | undefined {
  return noted === undefined || noted === NOTHING_STAGED ? undefined : Receipt.parse(JSON.parse(noted))
}
