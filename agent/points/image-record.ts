import { z } from 'zod'

/** What `backup-metadata` tells of the image that a point was made with. */
export const ImageRecord = z.object({
  /** Equal for images of the same content, for the same recipients. */
  key: z.string(),
  name: z.string(),
  bytes: z.number().int().nonnegative(),
  /** Of the file as it is stored. */
  sha256: z.string(),
})
export type ImageRecord = z.infer<typeof ImageRecord>
