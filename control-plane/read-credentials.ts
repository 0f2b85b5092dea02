import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { ConfigError } from '../shared/config.ts'

const Credentials = z.object({
  token: z.string().min(32, 'must be at least 32 characters'),
  username: z.string().optional(),
  password: z.string().optional(),
})

/** What the first admin is let in with. @throws ConfigError that names the setting and the member, and quotes neither. */
export function readCredentials(path: string): z.infer<typeof Credentials> {
  const setting = 'HOLDFAST_CREDENTIALS_FILE'
  const parsed = Credentials.safeParse(parse(setting, path))
  if (parsed.success) return parsed.data
  const problems = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
  throw new ConfigError(`${setting}: ${problems.join('; ')}`)
}

function parse(setting: string, path: string): unknown {
  const text = readFileSync(path, 'utf8')
  try {
    return JSON.parse(text)
  } catch {
    // Not handed on: the parser's message quotes the file.
    throw new ConfigError(`${setting}: ${path} is not JSON`)
  }
}
