import { join } from 'node:path'
import type { PipelineTools } from '../../agent/pipelines/pipeline.ts'
import { runPipeline } from '../../agent/pipelines/run-pipeline.ts'
import { restoreVolume } from '../../agent/pipelines/volume/restore.ts'
import { replaceFile } from '../../agent/points/durable-file.ts'
import type { PointTools } from '../../agent/points/point-tools.ts'
import { createFileVolumes } from '../../agent/volumes/file/file-volumes.ts'
import type { FillMode } from '../../agent/volumes/file/staging.ts'
import type { Volumes } from '../../agent/volumes/volumes.ts'
import type { SpecOf } from '../../shared/job-spec.ts'
import type { PointRef } from '../../shared/point-spec.ts'
import { contextOf } from '../contracts/pipeline-contract.ts'
import { NO_INSTANCES } from './no-instances.ts'
import { OWN_TARGET, SERIES } from './point-orders.ts'
import { pointsOf } from './points.ts'
import { DISK, memoryIn, noteOf, type Round } from './volume-rolls.ts'

/** Of even rounds the first point is restored, of odd ones the second. */
export function restoreOf(
  volumes: Volumes,
  points: PointTools,
  { round, jobId, refs }: Pick<Round, 'round' | 'jobId'> & { readonly refs: readonly PointRef[] },
) {
  // Only what this pipeline asks of them.
  const tools = { ...NO_INSTANCES, points, volumes: () => volumes } as unknown as PipelineTools
  const chain = refs.slice(0, 1 + (round % 2))
  const spec: SpecOf<'volume.restore'> = {
    kind: 'volume.restore',
    ...{ target: OWN_TARGET, series: SERIES, pointId: chain.at(-1)?.id ?? '', chain },
    place: { pool: 'a', volume: DISK },
    mode: 'over',
    createParent: false,
  }
  return restoreVolume(spec, jobId, tools)
}

/** Restores two points over a volume in turn, for whoever kills this process: `volume-restores.ts <pool> <mode> <state> <refs>`. */
async function restoreUntilKilled([path = '', mode = '', state = '', refs = '']: readonly string[]): Promise<void> {
  const volumes = await createFileVolumes(path, mode as FillMode) // as: whoever starts this says one of them
  const { tools } = pointsOf({ teardown: () => undefined }, { state, poolPaths: [path] })
  const first = noteOf(state).round
  for (let round = first; ; round += 1) {
    const id = { round, jobId: crypto.randomUUID() }
    replaceFile(join(state, 'round'), JSON.stringify(id))
    if (round === first) process.stdout.write('begun\n')
    await runPipeline(
      restoreOf(volumes, tools, { ...id, refs: JSON.parse(refs) }),
      contextOf(id.jobId, memoryIn(state, id)),
    )
  }
}

if (import.meta.main) await restoreUntilKilled(process.argv.slice(2))
