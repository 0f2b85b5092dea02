import type { z } from 'zod'

/** A program of the bench is told all it needs by its one argument, which is JSON. */
export function readOptions<Schema extends z.ZodType>(schema: Schema): z.infer<Schema> {
  return schema.parse(JSON.parse(process.argv[2] ?? '{}'))
}

export function tellParent(message: unknown): void {
  process.send?.(message)
}

/** Ends with the parent, and at its word. */
export function endWithParent(): void {
  process.once('disconnect', () => process.exit(0))
  process.once('SIGTERM', () => process.exit(0))
}
