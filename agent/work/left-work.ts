import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { toFleetError } from '../../shared/errors.ts'
import { JobSpec } from '../../shared/job-spec.ts'
import type { Logger } from '../../shared/logger.ts'
import type { JobMemory, PipelineTools } from '../pipelines/pipeline.ts'
import { openWork } from '../pipelines/pipelines.ts'
import { PipelineFailure, runPipeline } from '../pipelines/run-pipeline.ts'
import { replaceFile, syncDirectory } from '../points/durable-file.ts'
import { type Lanes, laneOf } from './lanes.ts'

const Note = z.object({ spec: JobSpec, staged: z.string().optional() })
type Note = z.infer<typeof Note>

/**
 * Orders for instances that failed, and could not be taken back: the technology was gone, or what was made does not stop. What they made
 * stays as it is, with a note that is durable, until it can be: nobody else may do it by hand, and a tree is not taken from under them.
 */
export interface LeftWork {
  /** @param staged what the job had noted of itself */
  keep(jobId: string, note: Note): void
  has(jobId: string): boolean
  /** Tries each once, in its lane. */
  retry(tools: PipelineTools): Promise<void>
}

/** @param folder the agent's own; made when the first note is written */
export function openLeftWork(folder: string, lanes: Lanes, logger: Logger): LeftWork {
  const pathOf = (jobId: string) => join(folder, `${jobId}.json`)
  const notes = new Map<string, Note>(readNotes(folder))

  function write(jobId: string, note: Note): void {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    replaceFile(pathOf(jobId), `${JSON.stringify(note)}\n`)
    notes.set(jobId, note)
  }

  function memoryOf(jobId: string): JobMemory {
    return {
      staged: () => notes.get(jobId)?.staged,
      async stage(staged) {
        const note = notes.get(jobId)
        if (note !== undefined) write(jobId, { ...note, staged })
      },
    }
  }

  async function takeBack(jobId: string, { spec }: Note, tools: PipelineTools): Promise<void> {
    if (!notes.has(jobId)) return // by another try
    const context = { jobId, memory: memoryOf(jobId), signal: AbortSignal.abort(), progress() {}, release() {} }
    try {
      await runPipeline(await openWork(spec, jobId, tools), context, true)
    } catch (thrown) {
      const error = toFleetError(thrown instanceof PipelineFailure ? thrown.cause : thrown)
      if (error.code !== 'cancelled' || error.left) {
        logger.warn({ event: 'job.left', jobId, kind: spec.kind, code: error.code, detail: error.detail })
        return
      }
    }
    rmSync(pathOf(jobId), { force: true })
    syncDirectory(folder)
    notes.delete(jobId)
    logger.info({ event: 'job.taken_back', jobId, kind: spec.kind })
  }

  return {
    keep(jobId, note) {
      if (makesInstance(note.spec)) write(jobId, note)
    },
    has: (jobId) => notes.has(jobId),
    async retry(tools) {
      const trying = [...notes].map(([jobId, note]) =>
        lanes
          .run(laneOf(note.spec), () => takeBack(jobId, note, tools))
          .catch((error: unknown) => {
            logger.error({ event: 'job.left', jobId, error: String(error) })
          }),
      )
      await Promise.all(trying)
    },
  }
}

function makesInstance(spec: JobSpec): boolean {
  return spec.kind === 'instance.clone' || (spec.kind === 'point.restore' && spec.destination.kind === 'instance')
}

function readNotes(folder: string): readonly [string, Note][] {
  let names: readonly string[] = []
  try {
    names = readdirSync(folder).filter((name) => name.endsWith('.json'))
  } catch {
    return [] // none was ever written
  }
  return names.flatMap((name): [string, Note][] => {
    const parsed = Note.safeParse(JSON.parse(readFileSync(join(folder, name), 'utf8')))
    return parsed.success ? [[name.slice(0, -'.json'.length), parsed.data]] : []
  })
}
