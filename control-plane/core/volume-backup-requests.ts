import { z } from 'zod'

const NAME_MAX = 255

export const BackupName = z
  .string()
  .min(1, 'must not be empty')
  .max(NAME_MAX, `must be at most ${NAME_MAX} characters`)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is refused
  .regex(/^[^\u0000-\u001f\u007f]*$/, 'must not hold control characters')

/** More are as good as all. */
export const RETENTION_MAX = 10_000

export const CreateVolumeBackupRequest = z.object({
  name: BackupName,
  volume: z.string(),
  snapshot: z.string().optional(),
  incremental: z.boolean().default(false),
  retention: z
    .number()
    .int()
    .min(0, 'must not be negative')
    .max(RETENTION_MAX, `must be at most ${RETENTION_MAX}`)
    .refine(
      (retention) => retention !== 1,
      'must be 0 (all) or at least 2: one alone would go before the next is whole',
    )
    .default(0),
  target: z.string().optional(),
  force: z.boolean().default(false),
  instanceBackupId: z.uuid().optional(),
})
