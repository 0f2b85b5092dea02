import { freePort } from './processes.ts'
import type { Workbench } from './workbench.ts'

export interface Floor {
  readonly port: number
}

/** Starts the floor's two processes; see `bench/floor.ts`. */
export async function startFloor(
  workbench: Workbench,
  servers: { readonly databaseUrl: string; readonly natsUrl: string },
): Promise<Floor> {
  const port = await freePort()
  const control = JSON.stringify({ port, ...servers })
  await workbench.startNode({ name: 'floor-control', entry: 'bench/programs/floor-control.ts', args: [control] }).hear()
  const agent = JSON.stringify({ natsUrl: servers.natsUrl })
  await workbench.startNode({ name: 'floor-agent', entry: 'bench/programs/floor-agent.ts', args: [agent] }).hear()
  return { port }
}
