import { z } from 'zod'
import { PointMade } from '../../../shared/point-spec.ts'
import { ImageRecord } from '../../points/image-record.ts'

const PointReceipt = z.object({
  made: PointMade,
  /** What the point's `sums` holds: by it, it is known again. */
  sums: z.string(),
  finishedAt: z.string(),
  /** Of receipts of earlier versions it is not known. */
  image: ImageRecord.optional(),
})

/** What the journal keeps of a point that is written and not yet published. */
export type PointReceipt = z.infer<typeof PointReceipt>

export function encodeReceipt(receipt: PointReceipt): string {
  return JSON.stringify(receipt)
}

export function parseReceipt(noted: string | undefined): PointReceipt | undefined {
  return noted === undefined || noted === '' ? undefined : PointReceipt.parse(JSON.parse(noted))
}
