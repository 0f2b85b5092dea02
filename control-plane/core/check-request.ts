import type { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'

/** @throws invalid, naming the first field that is wrong and why. */
export function checkRequest<Schema extends z.ZodType>(schema: Schema, request: unknown): z.infer<Schema> {
  const parsed = schema.safeParse(request)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  const field = issue?.path.join('.') ?? ''
  throw new FleetError('invalid', `${field}: ${issue?.message ?? 'is not usable'}`, field === '' ? {} : { field })
}
