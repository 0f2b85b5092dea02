import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'

/** What a client hands back to go on; nothing in it is trusted further than a path that it might have asked for. */
export function encodeCursor(place: unknown): string {
  return Buffer.from(JSON.stringify(place)).toString('base64url')
}

/** @throws invalid */
export function decodeCursor<Schema extends z.ZodType>(text: string, schema: Schema): z.infer<Schema> {
  try {
    return schema.parse(JSON.parse(Buffer.from(text, 'base64url').toString()))
  } catch (cause) {
    throw new FleetError('invalid', 'the cursor is not one of these pages', { field: 'cursor', cause })
  }
}

/** A path with one character a byte: in bytes a cursor stays as long as the path. */
export const PathCursor = z.object({ at: z.string(), after: z.boolean().optional() })
