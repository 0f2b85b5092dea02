import { readFileSync, statSync } from 'node:fs'
import { z } from 'zod'
import { ConfigError } from '../../shared/config.ts'

const text = z.string().min(1)

/** In the words of OpenStack's `clouds.yaml`, its member `auth`. */
const ServiceCredentials = z.union(
  [
    z.strictObject({ application_credential_id: text, application_credential_secret: text }),
    z.strictObject({
      ...{ username: text, password: text, project_name: text },
      ...{ user_domain_name: text.default('Default'), project_domain_name: text.default('Default') },
    }),
  ],
  {
    error:
      'must have application_credential_id and application_credential_secret, or username, password and project_name (user_domain_name, project_domain_name)',
  },
)
export type ServiceCredentials = z.infer<typeof ServiceCredentials>

const SETTING = 'HOLDFAST_CINDER_CREDENTIALS'
/** systemd's credentials are their group's to read, too. */
const OTHERS = 0o007

/** Who we are to the identity service. @throws ConfigError that quotes nothing of the file */
export function readServiceCredentials(path: string): ServiceCredentials {
  const { content, mode } = read(path)
  if ((mode & OTHERS) !== 0) throw new ConfigError(`${SETTING}: ${path} is open to everybody: chmod 600`)
  const parsed = ServiceCredentials.safeParse(content)
  if (parsed.success) return parsed.data
  throw new ConfigError(`${SETTING}: ${path} ${parsed.error.issues[0]?.message}`)
}

function read(path: string): { readonly content: unknown; readonly mode: number } {
  let bytes: string
  let mode: number
  try {
    bytes = readFileSync(path, 'utf8')
    mode = statSync(path).mode
  } catch (error) {
    throw new ConfigError(`${SETTING}: ${path} cannot be read: ${error instanceof Error ? error.message : error}`)
  }
  try {
    return { content: JSON.parse(bytes), mode }
  } catch {
    // Not handed on: the parser's message quotes the file.
    throw new ConfigError(`${SETTING}: ${path} is not JSON`)
  }
}

/** What is posted for a token. Source: Identity API v3, "Password authentication with scoped authorization", "application credential". */
export function authOf(credentials: ServiceCredentials): unknown {
  if ('application_credential_id' in credentials) {
    const { application_credential_id: id, application_credential_secret: secret } = credentials
    return { auth: { identity: { methods: ['application_credential'], application_credential: { id, secret } } } }
  }
  const { username: name, password, user_domain_name: userDomain, project_name: project } = credentials
  const user = { name, password, domain: { name: userDomain } }
  const scope = { project: { name: project, domain: { name: credentials.project_domain_name } } }
  return { auth: { identity: { methods: ['password'], password: { user } }, scope } }
}
