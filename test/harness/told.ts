import { once } from 'node:events'
import type { ExecutionContext } from 'ava'
import { WebSocket } from 'ws'
import type { TestFleet } from './fleet.ts'

export interface Told {
  readonly type: string
  readonly job_id?: string
}

/** What a WebSocket is told from now on. */
export async function listen(t: ExecutionContext, fleet: TestFleet): Promise<readonly Told[]> {
  const headers = { authorization: `Bearer ${fleet.token}` }
  const socket = new WebSocket(`${fleet.url().replace('http', 'ws')}/api/v1/events`, { headers })
  t.teardown(() => socket.terminate())
  const told: Told[] = []
  socket.on('message', (data) => told.push(JSON.parse(String(data))))
  await once(socket, 'open')
  return told
}

/** Whether a job was told from its queue to its end, in this order. */
export function toldWhole(told: readonly Told[], jobId: string): boolean {
  const types = told.filter((event) => event.job_id === jobId).map(({ type }) => type)
  const lasting = types.filter((type) => type !== 'job.progress')
  return lasting.join() === 'job.queued,job.running,job.succeeded'
}
