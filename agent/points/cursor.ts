import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { type BytePath, bytePath, bytesOf } from '../archive/byte-path.ts'

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

/** A place among paths. In bytes a cursor is less than twice as long as the path, whatever that is made of: clients hand it back in a URL. */
export function encodePlace(at: BytePath, after?: true): string {
  return encodeCursor({ path: bytesOf(at).toString('base64url'), ...(after ? { after } : {}) })
}

const PathPlace = z
  .object({ path: z.string().regex(/^[\w-]*$/), after: z.literal(true).optional() })
  .transform(({ path, after }) => ({ at: bytePath(Buffer.from(path, 'base64url')), after }))

/** @throws invalid */
export function decodePlace(text: string): { readonly at: BytePath; readonly after?: true | undefined } {
  return decodeCursor(text, PathPlace)
}
