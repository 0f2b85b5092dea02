import { readFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { JobMemory, PipelineTools } from '../../agent/pipelines/pipeline.ts'
import { runPipeline } from '../../agent/pipelines/run-pipeline.ts'
import { rollbackVolume } from '../../agent/pipelines/volume/rollback.ts'
import { replaceFile } from '../../agent/points/durable-file.ts'
import { createFileVolumes } from '../../agent/volumes/file/file-volumes.ts'
import type { FillMode } from '../../agent/volumes/file/staging.ts'
import type { Volumes } from '../../agent/volumes/volumes.ts'
import { watch } from '../contracts/driver-contract.ts'
import { contextOf } from '../contracts/pipeline-contract.ts'
import { NO_INSTANCES } from './no-instances.ts'

/** What is told of the order that is under way. */
export interface Round {
  readonly round: number
  readonly jobId: string
  readonly staged: string | undefined
}

export const DISK = 'disk'
export const safetyOf = (round: number) => `before-${round}`
/** What the volume holds before it is rolled back; as long as what the snapshot holds. */
export const newer = (round: number) => `new-${String(round).padStart(4, '0')}`

export function noteOf(state: string): Round {
  return JSON.parse(readFileSync(join(state, 'round'), 'utf8'))
}

/** A journal of one order, in a file. */
export function memoryIn(state: string, { round, jobId }: Pick<Round, 'round' | 'jobId'>): JobMemory {
  return {
    staged: () => noteOf(state).staged,
    stage: async (staged) => replaceFile(join(state, 'round'), JSON.stringify({ round, jobId, staged })),
  }
}

export function rollbackOf(volumes: Volumes, { round, jobId }: Pick<Round, 'round' | 'jobId'>) {
  // Only what this pipeline asks of them.
  const tools = { ...NO_INSTANCES, volumes: () => volumes } as unknown as PipelineTools
  const place = { pool: 'a', volume: DISK, snapshot: 's' }
  return rollbackVolume({ kind: 'volume.rollback', place, safety: safetyOf(round) }, jobId, tools)
}

export async function writeText(device: string, text: string): Promise<void> {
  const file = await open(device, 'r+')
  await file.write(text, 0)
  await file.close()
}

/** Writes to `disk` and rolls it back to `s`, again and again, for whoever kills this process: `volume-rolls.ts <pool> <mode> <state>`. */
async function rollUntilKilled([path = '', mode = '', state = '']: readonly string[]): Promise<void> {
  const volumes = await createFileVolumes(path, mode as FillMode) // as: whoever starts this says one of them
  const first = noteOf(state).round
  for (let round = first; ; round += 1) {
    const id = { round, jobId: crypto.randomUUID() }
    const memory = memoryIn(state, id)
    const disk = await volumes.find(DISK)
    replaceFile(join(state, 'round'), JSON.stringify({ ...id, staged: undefined }))
    await writeText(disk?.device ?? '', newer(round))
    if (round === first) process.stdout.write('begun\n')
    await runPipeline(rollbackOf(volumes, id), contextOf(id.jobId, memory))
    await volumes.destroySnapshot(DISK, safetyOf(round), watch)
  }
}

if (import.meta.main) await rollUntilKilled(process.argv.slice(2))
