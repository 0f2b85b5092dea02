import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import type { TokenOf } from '../core/lending.ts'
import { authOf, type ServiceCredentials } from './service-credentials.ts'

/** Our own tokens for the block service behind us. */
export interface ServiceTokens {
  /** @throws refused: there is nothing to get one with */
  ready(): void
  /** @param project whose things are asked about. @throws refused (there is none to be had), unavailable */
  of(project: string): Promise<TokenOf>
  /** It was not taken: the next one is another. */
  dropped(token: string): void
}

const TIMEOUT_MS = 10_000
/** Got anew so long before it ends, as requests of minutes go under it. */
const MARGIN_MS = 180_000
const SUBJECT = 'holdfast'

const Answer = z.object({
  token: z.object({ expires_at: z.iso.datetime({ offset: true }), project: z.object({ id: z.string().min(1) }) }),
})

/** Of a service that asks for no tokens but those of its own `noauth`: whoever says so is of that project. */
export function unaskedTokens(): ServiceTokens {
  return {
    ready: () => undefined,
    of: async (project) => ({ token: `${SUBJECT}:${project}`, project }),
    dropped: () => undefined,
  }
}

/** Where a Keystone is configured, and nothing to log in there with. */
export function noTokens(): ServiceTokens {
  const refused = () =>
    new FleetError(
      'refused',
      'volumes of the block service behind this one cannot be backed up: no credentials for it are configured',
    )
  return {
    ready: () => {
      throw refused()
    },
    of: async () => {
      throw refused()
    },
    dropped: () => undefined,
  }
}

interface Kept {
  readonly as: TokenOf
  readonly untilMs: number
}

/** One token for all projects, of ours: its role must let it act on what is of others. @param deps `url`: up to the version */
export function keystoneTokens(deps: {
  readonly url: string
  readonly credentials: ServiceCredentials
  readonly now?: () => number
}): ServiceTokens {
  const { url, credentials, now = Date.now } = deps
  let kept: Promise<Kept> | undefined
  let newest: string | undefined

  async function ask(): Promise<Kept> {
    const answer = await fetch(`${url}/auth/tokens?nocatalog`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      body: JSON.stringify(authOf(credentials)),
      redirect: 'error',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    }).catch(silent)
    if (answer.status === 401 || answer.status === 403) {
      await answer.body?.cancel()
      throw new FleetError('refused', 'the identity service does not take the credentials of this service')
    }
    const token = answer.headers.get('x-subject-token')
    const parsed = Answer.safeParse(answer.ok ? await answer.json().catch(silent) : undefined)
    if (token === null || !parsed.success) throw silent(undefined)
    newest = token
    const { expires_at: until, project } = parsed.data.token
    return { as: { token, project: project.id }, untilMs: Date.parse(until) - MARGIN_MS }
  }

  function renewed(): Promise<Kept> {
    const asked = ask()
    kept = asked
    asked.catch(() => {
      if (kept === asked) kept = undefined
    })
    return asked
  }

  return {
    ready: () => undefined,

    async of() {
      const before = await (kept ?? renewed())
      if (before.untilMs > now()) return before.as
      // One of so short a life is as good as it gets.
      return (await renewed()).as
    },

    dropped(token) {
      // Of several that were refused under it the first has another asked for.
      if (newest === token) kept = undefined
    },
  }
}

function silent(cause: unknown): never {
  throw new FleetError('unavailable', 'the identity service does not answer', { cause })
}
