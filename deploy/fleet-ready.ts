import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import type { Credentials } from './credentials.ts'

const REQUEST_TIMEOUT_MS = 3_000
const POLL_MS = 100

/** The parts of the fleet's own API that readiness turns on. */
const Hosts = z.object({ items: z.array(z.object({ name: z.string(), state: z.string() })) })
const Datasets = z.object({ datasets: z.array(z.object({ name: z.string() })) })
const FIRST_DATASET = 'root'

/** What is not there yet, for an operator; empty when the fleet is ready. */
export async function missingParts(credentials: Credentials, agents: readonly string[]): Promise<readonly string[]> {
  const ready = await get(credentials, '/readyz')
  if (ready === undefined) return ['the control plane is not ready']
  const hosts = Hosts.safeParse(await get(credentials, '/api/v1/hosts')).data?.items
  if (!hosts) return ['the control plane does not list its hosts']
  const online = new Set(hosts.filter(({ state }) => state === 'online').map(({ name }) => name))
  const offline = agents.filter((agent) => !online.has(agent))
  if (offline.length > 0) return offline.map((agent) => `${agent} is not online`)
  const datasets = Datasets.safeParse(await get(credentials, '/api/v1/datasets')).data?.datasets
  return datasets?.some(({ name }) => name === FIRST_DATASET) ? [] : [`the dataset ${FIRST_DATASET} is not there`]
}

/**
 * Polls until the fleet is ready.
 * @param shouldGiveUp asked between polls: a child that fails again and again need not be waited for.
 * @returns what is still missing; empty when ready.
 */
export async function waitUntilReady(options: {
  readonly credentials: Credentials
  readonly agents: readonly string[]
  readonly timeoutMs: number
  readonly shouldGiveUp: () => boolean
  readonly signal: AbortSignal
}): Promise<readonly string[]> {
  const deadline = performance.now() + options.timeoutMs
  for (;;) {
    const missing = await missingParts(options.credentials, options.agents)
    if (missing.length === 0 || options.shouldGiveUp() || performance.now() > deadline) return missing
    await sleep(POLL_MS, undefined, { signal: options.signal })
  }
}

/** @returns the body of a 200 answer (`{}` when it is not JSON), or undefined. */
async function get({ url, token }: Credentials, path: string): Promise<unknown> {
  try {
    const response = await fetch(new URL(path, url), {
      headers: { authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    })
    const body = await response.text()
    if (!response.ok) return undefined
    return response.headers.get('content-type')?.includes('json') ? JSON.parse(body) : {}
  } catch {
    return undefined
  }
}
