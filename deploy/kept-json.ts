import { existsSync, readFileSync } from 'node:fs'
import type { z } from 'zod'
import { writeFileAtomically } from './atomic-file.ts'
import { StartError } from './start-error.ts'

/** A small JSON document in the state directory that one process at a time reads and replaces. */
export function readKept<Schema extends z.ZodType>(path: string, schema: Schema): z.infer<Schema> | undefined {
  if (!existsSync(path)) return undefined
  const parsed = schema.safeParse(parseJson(readFileSync(path, 'utf8')))
  if (parsed.success) return parsed.data
  throw new StartError(`${path} is damaged: mend it, or move it away to have it made again`)
}

export function writeKept(path: string, value: unknown): void {
  writeFileAtomically(path, `${JSON.stringify(value, null, 2)}\n`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
