import { compileAgent } from '../../deploy/compile-agent.ts'
import type { DriverName } from '../../shared/wire/messages.ts'
import { type ControlPlane, startAgent, startControlPlane } from './fleet.ts'
import { mountFileSystem } from './pool.ts'
import type { BenchProcess } from './processes.ts'
import { startNats, startPostgres } from './servers.ts'
import { followPlane, type WholeJobs } from './whole-jobs.ts'
import { ROOT, type Workbench } from './workbench.ts'

/** A file system of its own, with an agent. */
export interface BenchPool {
  readonly host: string
  readonly kind: Parameters<typeof mountFileSystem>[1]['kind']
  readonly driver: DriverName
  readonly imageBytes?: number
}

/** A whole fleet of installed agents, whose jobs are followed. The first pool has the root dataset. @returns `agents` in the order of the pools */
export async function startFleetOn(
  workbench: Workbench,
  pools: readonly BenchPool[],
  environment: Readonly<Record<string, string>> = {},
): Promise<{ readonly plane: ControlPlane; readonly agents: readonly BenchProcess[]; readonly jobs: WholeJobs }> {
  const postgres = await startPostgres(workbench)
  const natsUrl = await startNats(workbench)
  const plane = await startControlPlane(workbench, { databaseUrl: await postgres.createDatabase('ours'), natsUrl })
  await compileAgent(ROOT, workbench.compileCache)
  const agents: BenchProcess[] = []
  for (const { host, driver, ...image } of pools) {
    const path = mountFileSystem(workbench, { name: host, ...image })
    agents.push(startAgent(workbench, { natsUrl, driver, path, name: host, environment }))
    if (agents.length === 1) await plane.rooted()
  }
  return { plane, agents, jobs: await followPlane(workbench, plane) }
}
