import { z } from 'zod'
import { Progress } from '../../../shared/job-event.ts'
import { actingFor, SYSTEM_CALLER } from '../../core/caller.ts'
import type { FeedEvent } from '../../core/feed.ts'
import { percentShown } from '../../core/percent-shown.ts'
import type { JobTask, Schedules } from '../../core/schedules.ts'

/** Of jobs that are under way; far more than the slots of a fleet. */
const TASKS_MAX = 50_000
/** What core answers about at once. */
const ASKED_MAX = 1_000

const ENDED: ReadonlySet<string> = new Set(['job.succeeded', 'job.failed', 'job.cancelled'])

const Told = z.object({
  kind: z.string(),
  progress: Progress.nullish(),
})

/** What a job's event tells of the progress of the backup or restore that it is part of. */
export interface ProgressChange {
  readonly seq: number
  readonly groupId: string
  readonly jobId: string
  readonly kind: JobTask['kind']
  /** Of the schedule or restore task. */
  readonly number: number
  /** −1 to 99; −1 also when it has begun or ended. */
  readonly progress: number
  /** Neither the beginning nor the end. */
  readonly isStep: boolean
  readonly isEnd: boolean
}

type Found = Omit<ProgressChange, 'kind' | 'number'>

/** Only these kinds do the work of a backup or restore. */
function isTaskWork(kind: string): boolean {
  return !/^(dataset|snapshot)\./.test(kind)
}

function findingOf({ seq, type, jobId, groupId, json }: FeedEvent): readonly Found[] {
  if (jobId === null || groupId === null || !type.startsWith('job.')) return []
  const { kind, progress } = Told.parse(JSON.parse(json))
  if (!isTaskWork(kind)) return []
  const isEnd = ENDED.has(type)
  const shown = percentShown(isEnd ? null : progress)
  return [{ seq, groupId, jobId, progress: shown, isStep: type === 'job.progress', isEnd }]
}

/** Reads events of the feed as changes of tasks. */
export function createJobProgress(schedules: Pick<Schedules, 'tasksOf'>) {
  /** What a job is part of never changes, once it is part of something. */
  const tasks = new Map<string, JobTask>()

  async function learn(found: readonly Found[]): Promise<void> {
    const unknown = Map.groupBy(
      found.filter(({ jobId }) => !tasks.has(jobId)),
      ({ groupId }) => groupId,
    )
    for (const [groupId, ofGroup] of unknown) {
      const jobIds = [...new Set(ofGroup.map(({ jobId }) => jobId))]
      const caller = actingFor(SYSTEM_CALLER, groupId)
      for (let from = 0; from < jobIds.length; from += ASKED_MAX) {
        const known = await schedules.tasksOf(caller, jobIds.slice(from, from + ASKED_MAX))
        for (const task of known) tasks.set(task.jobId, task)
      }
    }
  }

  /** The oldest go first: a job that works on for that long is looked up again. */
  function forget(): void {
    for (const jobId of tasks.keys()) {
      if (tasks.size <= TASKS_MAX) return
      tasks.delete(jobId)
    }
  }

  return {
    /** In order. @throws what `tasksOf` throws. */
    async changesOf(events: readonly FeedEvent[]): Promise<readonly ProgressChange[]> {
      const found = events.flatMap(findingOf)
      if (found.length === 0) return []
      await learn(found)
      const changes = found.flatMap((finding) => {
        const task = tasks.get(finding.jobId)
        return task === undefined ? [] : [{ ...finding, kind: task.kind, number: task.number }]
      })
      forget()
      return changes
    },
  }
}

export type JobProgress = ReturnType<typeof createJobProgress>
