import { hash } from 'node:crypto'
import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import type { Caller, Role } from '../core/caller.ts'

/** Who a token of the identity service behind us belongs to. */
export interface Identity {
  readonly userId: string
  readonly projectId: string
  readonly roles: readonly string[]
  readonly until: Date
}

export interface Keystone {
  /** @throws unauthorized (unknown, ended, of no project), unavailable. */
  find(token: string): Promise<Identity>
  /** The same as a caller of ours: in the group that has the project's id for its name. @throws forbidden: no such group, or no role that counts */
  caller(token: string): Promise<Caller>
}

const TIMEOUT_MS = 5_000
/** For so long an answer is trusted: a token that is revoked there ends here within this time. */
const TRUST_MS = 30_000
const REMEMBERED_MAX = 5_000
const BODY_MAX_BYTES = 1 << 20
const TOKEN_MAX_LENGTH = 8_192

/** Of the answer to `GET /v3/auth/tokens`. Source: Identity API v3, "Validate and show information for token". */
const Answer = z.object({
  token: z.object({
    expires_at: z.iso.datetime({ offset: true }),
    user: z.object({ id: z.string().min(1).max(255) }),
    project: z.object({ id: z.string().min(1).max(255) }),
    roles: z.array(z.object({ name: z.string() })),
  }),
})

/** Its roles, the greatest first. */
const ROLES: readonly (readonly [name: string, role: Role])[] = [
  ['admin', 'admin'],
  ['manager', 'operator'],
  ['member', 'operator'],
  ['reader', 'viewer'],
]

interface Remembered {
  readonly identity: Promise<Identity>
  readonly untilMs: number
}

/** @param deps `url`: up to the version, `https://keystone:5000/v3`. `groupNamed`: its id. */
export function createKeystone(deps: {
  readonly url: string
  readonly groupNamed: (name: string) => Promise<string | undefined>
  readonly now?: () => number
}): Keystone {
  const { url, groupNamed, now = Date.now } = deps
  const remembered = new Map<string, Remembered>()

  async function ask(token: string): Promise<Identity> {
    const headers = { 'x-auth-token': token, 'x-subject-token': token, accept: 'application/json' }
    const signal = AbortSignal.timeout(TIMEOUT_MS)
    const answer = await fetch(`${url}/auth/tokens?nocatalog`, { headers, redirect: 'error', signal }).catch(silent)
    if (answer.status === 401 || answer.status === 403 || answer.status === 404) {
      await answer.body?.cancel()
      throw unknown()
    }
    const parsed = answer.ok ? Answer.safeParse(await json(answer).catch(silent)) : undefined
    // A token without a project is nobody's here.
    if (answer.ok && parsed?.success === false) throw unknown()
    if (!parsed?.success) throw silent(undefined)
    const { expires_at: until, user, project, roles } = parsed.data.token
    return {
      userId: user.id,
      projectId: project.id,
      roles: roles.map(({ name }) => name.toLowerCase()),
      until: new Date(until),
    }
  }

  async function find(token: string): Promise<Identity> {
    if (token === '' || token.length > TOKEN_MAX_LENGTH || !/^[\x21-\x7e]+$/.test(token)) throw unknown()
    const key = hash('sha256', token, 'hex')
    const known = remembered.get(key)
    const identity = known !== undefined && known.untilMs > now() ? known.identity : remember(key, ask(token))
    const found = await identity
    if (found.until.getTime() <= now()) throw unknown()
    return found
  }

  function remember(key: string, identity: Promise<Identity>): Promise<Identity> {
    const [oldest] = remembered.size >= REMEMBERED_MAX ? remembered.keys() : []
    if (oldest !== undefined) remembered.delete(oldest)
    const entry = { identity, untilMs: now() + TRUST_MS }
    remembered.delete(key)
    remembered.set(key, entry)
    // Refusals are asked again: a token may be a moment older there than here.
    identity.catch(() => {
      if (remembered.get(key) === entry) remembered.delete(key)
    })
    return identity
  }

  return {
    find,

    async caller(token) {
      const { userId, projectId, roles, until } = await find(token)
      const groupId = await groupNamed(projectId)
      const role = ROLES.find(([name]) => roles.includes(name))?.[1]
      if (groupId === undefined || role === undefined) {
        throw new FleetError(
          'forbidden',
          groupId === undefined ? 'no group stands for that project' : 'none of your roles in that project counts here',
        )
      }
      const who = { subject: `keystone:${userId}`, userId: null, groupId, role, fleetRole: null }
      return { ...who, via: 'token', until, request: null }
    },
  }
}

async function json(answer: Response): Promise<unknown> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  // as: a fetched body yields bytes
  for await (const chunk of (answer.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += chunk.length
    if (bytes > BODY_MAX_BYTES) throw new Error('the answer is too large')
    chunks.push(chunk)
  }
  return JSON.parse(Buffer.concat(chunks).toString('utf8'))
}

function unknown(): FleetError {
  return new FleetError('unauthorized', 'the credentials are not known')
}

function silent(cause: unknown): never {
  throw new FleetError('unavailable', 'the identity service does not answer', { cause })
}
