import { once } from 'node:events'
import { z } from 'zod'
import type { ControlPlane } from './fleet.ts'
import type { Workbench } from './workbench.ts'

const Accepted = z.object({ job_id: z.uuid() })
const Told = z.object({ type: z.string(), job_id: z.uuid().nullish() })
const Job = z.object({ phases: z.array(z.object({ name: z.string(), seconds: z.number() })) })
/** They begin long before that. */
const JOB_MS = 600_000

export interface WholeJob {
  /** From before the request to when the feed tells that it has succeeded. */
  readonly ms: number
  readonly jobId: string
  readonly answer: unknown
}

/** Jobs as a client waits for them: asked for by a request, and followed on an open WebSocket of the feed. */
export interface WholeJobs {
  /** @throws when it is refused or does not succeed */
  run(path: string, body: object): Promise<WholeJob>
  /** What the agent says it spent where, in milliseconds. */
  phases(jobId: string): Promise<ReadonlyMap<string, number>>
}

/** The same of a control plane of this bench. */
export function followPlane({ defer }: Workbench, { port, token }: ControlPlane): Promise<WholeJobs> {
  return followJobs({ url: `http://127.0.0.1:${port}`, token, defer })
}

interface Server {
  /** Without a slash at its end. */
  readonly url: string
  readonly token: string
  defer(undo: () => void): void
}

export async function followJobs({ url, token, defer }: Server): Promise<WholeJobs> {
  const feed = new WebSocket(`${url.replace('http', 'ws')}/api/v1/events`, ['holdfast.v1', `holdfast.token.${token}`])
  await once(feed, 'open')
  defer(() => feed.close())
  const authorization = { authorization: `Bearer ${token}` }
  const ends = new Map<string, { readonly type: string; readonly atMs: number }>()
  let heard = Promise.withResolvers<void>()
  feed.addEventListener('message', ({ data }) => {
    const { type, job_id: jobId } = Told.parse(JSON.parse(data))
    if (jobId == null || !ENDS.has(type)) return
    ends.set(jobId, { type, atMs: performance.now() })
    heard.resolve()
    heard = Promise.withResolvers()
  })

  async function ended(jobId: string) {
    const deadline = AbortSignal.timeout(JOB_MS)
    const late = new Promise<never>((_, reject) => {
      deadline.addEventListener('abort', () => reject(new Error(`job ${jobId} does not end`)), { once: true })
    })
    late.catch(() => undefined)
    for (;;) {
      const end = ends.get(jobId)
      if (end !== undefined) return end
      await Promise.race([heard.promise, late])
    }
  }

  return {
    async run(path, body) {
      const startedMs = performance.now()
      const response = await fetch(url + path, { method: 'POST', headers: authorization, body: JSON.stringify(body) })
      const answer: unknown = await response.json()
      if (response.status !== 202) throw new Error(`POST ${path}: ${response.status} ${JSON.stringify(answer)}`)
      const { job_id: jobId } = Accepted.parse(answer)
      const { type, atMs } = await ended(jobId)
      if (type !== 'job.succeeded') {
        const job = await fetch(`${url}/api/v1/jobs/${jobId}`, { headers: authorization })
        throw new Error(`POST ${path}: ${type}: ${await job.text()}`)
      }
      return { ms: atMs - startedMs, jobId, answer }
    },
    async phases(jobId) {
      const job = await fetch(`${url}/api/v1/jobs/${jobId}`, { headers: authorization })
      const { phases } = Job.parse(await job.json())
      return new Map(phases.map(({ name, seconds }) => [name, seconds * 1_000]))
    },
  }
}
const ENDS = new Set(['job.succeeded', 'job.failed', 'job.cancelled'])
