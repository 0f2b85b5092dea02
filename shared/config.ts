import type { z } from 'zod'

/** All that is wrong with a process's environment, at once. Its message is for the operator's terminal. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/**
 * Reads one process's configuration from its environment: parsed once, frozen.
 * @throws ConfigError listing every problem by variable name.
 */
export function readConfig<Schema extends z.ZodObject>(
  schema: Schema,
  environment: Readonly<Record<string, string | undefined>>,
): Readonly<z.infer<Schema>> {
  const named = Object.fromEntries(
    Object.keys(schema.shape).flatMap((key) => (environment[key] ? [[key, environment[key]]] : [])),
  )
  const parsed = schema.safeParse(named)
  if (parsed.success) return Object.freeze(parsed.data)
  const problems = parsed.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`)
  throw new ConfigError(`configuration is not usable:\n${problems.join('\n')}`)
}
