import type { JobFailure, Progress } from '../../shared/job-event.ts'
import type { JobState } from '../../shared/job-machine.ts'
import type { JobKind } from '../../shared/job-spec.ts'
import type { FeedEvent } from './feed.ts'

/** What a feed event about a job tells, as clients get it. */
export interface JobEventBody {
  readonly job_id: string
  readonly kind: JobKind
  readonly state: JobState
  readonly host: string
  readonly attempt: number
  readonly dataset: string | null
  readonly progress?: Progress | null
  readonly error?: JobFailure | null
}

export interface HostEventBody {
  readonly host: string
  readonly state: 'online' | 'offline' | 'draining' | 'accepting' | 'removed'
}

/** A due instant has had no good run, and its grace is over; or it has had one since. */
export interface ScheduleEventBody {
  readonly schedule: number
  readonly schedule_id: string
  readonly name: string
  readonly state: 'overdue' | 'recovered'
  /** The oldest due instant without a good run; null once there are none. */
  readonly due_at: string | null
  /** What became of the newest run, for people. */
  readonly reason: string | null
}

/** The due backup of the station itself was not made; or one was made since. Everybody sees it: it names no place. */
export interface StationEventBody {
  readonly state: 'overdue' | 'recovered'
  readonly due_at: string | null
}

/** An event before it has its number. */
export interface UnnumberedEvent {
  readonly type: string
  readonly jobId: string | null
  readonly groupId: string | null
  readonly body: JobEventBody | HostEventBody | ScheduleEventBody | StationEventBody
}

/** One event with its number and time; `body` is JSON text, so that what Postgres kept need not be parsed to be sent. */
export function numberEvent(
  event: Omit<UnnumberedEvent, 'body'> & { readonly body: string },
  place: { readonly seq: number; readonly at: string },
): FeedEvent {
  const head = `{"seq":${place.seq},"type":"${event.type}","at":"${place.at}",`
  return {
    seq: place.seq,
    type: event.type,
    jobId: event.jobId,
    groupId: event.groupId,
    json: head + event.body.slice(1),
  }
}
