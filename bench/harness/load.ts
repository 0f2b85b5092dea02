import { z } from 'zod'
import type { BenchProcess } from './processes.ts'
import type { Workbench } from './workbench.ts'

/** What the load generator is asked; it is a process of its own, the same for us and for the peer. */
export const LoadOrder = z.object({
  port: z.number(),
  /** A GET has no body. */
  method: z.enum(['GET', 'POST']).optional(),
  path: z.string(),
  /** Each `%n` becomes a number that no other request has. */
  body: z.string().optional(),
  token: z.string().optional(),
  requests: z.number().int().positive(),
  inFlight: z.number().int().positive(),
})
export type LoadOrder = z.infer<typeof LoadOrder>

export const LoadResult = z.object({ seconds: z.number(), latenciesMs: z.array(z.number()) })
export type LoadResult = z.infer<typeof LoadResult>

const LoadAnswer = z.union([LoadResult, z.object({ failure: z.string() })])

export interface Load {
  /** @throws at the first answer that is no success. */
  run(order: LoadOrder): Promise<LoadResult>
}

export async function startLoad(workbench: Workbench): Promise<Load> {
  const generator: BenchProcess = workbench.startNode({ name: 'load', entry: 'bench/programs/load-generator.ts' })
  await generator.hear()
  return {
    async run(order) {
      const answer = LoadAnswer.parse(await generator.ask(order))
      if ('failure' in answer) throw new Error(answer.failure)
      return answer
    },
  }
}

export function perSecond({ seconds, latenciesMs }: LoadResult): number {
  return latenciesMs.length / seconds
}
