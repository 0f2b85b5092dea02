import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { writeFileAtomically } from './atomic-file.ts'
import type { Credentials } from './credentials.ts'
import { StartError } from './start-error.ts'

const REQUEST_TIMEOUT_MS = 5_000
const POLL_MS = 100

const Hosts = z.object({ items: z.array(z.object({ name: z.string(), credential_expires_at: z.string().nullable() })) })
const Enrolment = z.object({ token: z.string() })

/** A local agent, as far as its enrolment goes. */
export interface Enrollable {
  readonly name: string
  /** Its own directory. */
  readonly folder: string
}

/** Where an agent's one-time token is put for it. */
export function tokenFile({ folder }: Enrollable): string {
  return join(folder, 'enrolment-token')
}

/** Whether the agent has credentials of its own; the control plane may have forgotten them. */
export function hasCredentials({ folder }: Enrollable): boolean {
  return existsSync(join(folder, 'state', 'credentials.json'))
}

/**
 * Waits for the control plane, and gives every agent a token that needs one: through the same door as an operator.
 * @returns those that were given one. @throws StartError.
 */
export async function enrolAgents<Agent extends Enrollable>(options: {
  readonly credentials: Credentials
  readonly agents: readonly Agent[]
  readonly timeoutMs: number
  readonly shouldGiveUp: () => boolean
  readonly signal: AbortSignal
}): Promise<readonly Agent[]> {
  const { credentials, signal } = options
  const deadline = performance.now() + options.timeoutMs
  for (;;) {
    const known = await enrolledNames(credentials)
    if (known !== undefined) {
      const needy = options.agents.filter((agent) => !hasCredentials(agent) || !known.has(agent.name))
      for (const agent of needy) writeFileAtomically(tokenFile(agent), `${await newToken(credentials, agent.name)}\n`)
      return needy
    }
    // Whoever waits for the fleet next says what is missing.
    if (options.shouldGiveUp() || performance.now() > deadline) return []
    await sleep(POLL_MS, undefined, { signal })
  }
}

/** Undefined while the control plane does not answer. */
async function enrolledNames(credentials: Credentials): Promise<ReadonlySet<string> | undefined> {
  try {
    const response = await send(credentials, '/api/v1/hosts?limit=500')
    if (!response.ok) return undefined
    const { items } = Hosts.parse(await response.json())
    return new Set(items.filter((host) => host.credential_expires_at !== null).map(({ name }) => name))
  } catch {
    return undefined
  }
}

async function newToken(credentials: Credentials, name: string): Promise<string> {
  const response = await send(credentials, '/api/v1/hosts/enrolments', { name })
  if (!response.ok) throw new StartError(`${name} cannot be enrolled: ${response.status} ${await response.text()}`)
  return Enrolment.parse(await response.json()).token
}

function send({ url, token }: Credentials, path: string, body?: unknown): Promise<Response> {
  return fetch(new URL(path, url), {
    headers: { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
  })
}
