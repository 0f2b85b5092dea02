import { readFileSync, writeFileSync } from 'node:fs'
import { openDriver } from '../../agent/drivers/registry.ts'
import { openInstances } from '../../agent/instances/open-instances.ts'
import type { PipelineTools } from '../../agent/pipelines/pipeline.ts'
import { openWork } from '../../agent/pipelines/pipelines.ts'
import { runPipeline } from '../../agent/pipelines/run-pipeline.ts'
import { createFileVolumes } from '../../agent/volumes/file/file-volumes.ts'
import { contextOf } from '../contracts/pipeline-contract.ts'
import { NO_INSTANCES } from './no-instances.ts'

/**
 * A process to be killed: begins to take snapshots of an instance, says `taking` when it stands still, and never comes to the volumes'.
 * Argument: JSON `{lxcPath, state, poolPath, journal, jobId, spec}`; `journal` is a file with what the order noted.
 */
const { lxcPath, state, poolPath, journal, jobId, spec } = JSON.parse(process.argv[2] ?? '{}')
const driver = await openDriver({ name: 'a', path: poolPath, driver: 'btrfs' })
const volumes = await createFileVolumes(poolPath, 'share')
const awake = setInterval(() => undefined, 1_000)
// as: of tools nothing else is asked
const tools = {
  ...NO_INSTANCES,
  driver: () => driver,
  volumes: () => ({
    ...volumes,
    async snapshot() {
      process.stdout.write('taking\n')
      await new Promise(() => undefined)
    },
  }),
  instances: openInstances({ lxcPath, dockerSocket: '', state }).get,
} as unknown as PipelineTools
const memory = {
  staged: () => readFileSync(journal, 'utf8'),
  stage: async (identity: string) => writeFileSync(journal, identity),
}
await runPipeline(await openWork<'instance.snapshot'>(spec, jobId, tools), contextOf(jobId, memory))
clearInterval(awake)
