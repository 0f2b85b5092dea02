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

/** The same for what is kept as it is: Postgres takes neither NUL nor half of a surrogate pair. */
export function checkKept<Schema extends z.ZodType>(schema: Schema, request: unknown): z.infer<Schema> {
  const checked = checkRequest(schema, request)
  JSON.stringify(checked, (key, value: unknown) => {
    if (typeof value === 'string' && (value.includes('\0') || !value.isWellFormed()))
      throw new FleetError('invalid', `${key}: holds characters that are none`, { field: key })
    return value
  })
  return checked
}
