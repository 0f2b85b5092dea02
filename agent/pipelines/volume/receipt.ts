import type { z } from 'zod'
import type { Volume } from '../../volumes/volumes.ts'
import type { JobMemory } from '../pipeline.ts'

/** What an order that replaces a volume has noted, by which a repeat and an undo know how far it came. Undefined: nothing, or it was taken back. */
export function receiptIn<Receipt>(schema: z.ZodType<Receipt>, memory: JobMemory): Receipt | undefined {
  const noted = memory.staged()
  return noted === undefined || noted === '' ? undefined : schema.parse(JSON.parse(noted))
}

/** Whether what has the name is what that order put there. */
export function isIt(
  volume: Pick<Volume, 'guid'> | undefined,
  receipt: { readonly guid?: string | undefined } | undefined,
): boolean {
  return volume !== undefined && volume.guid === receipt?.guid
}
